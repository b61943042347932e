from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import ShellFacts
from mcp_gateway.facts.shell import ShellError, examine_shell
from tests.corpora import cases

SETS = Path(__file__).parent / "commands"


def lines(name: str) -> list[str]:
    text = (SETS / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and (line.startswith("## ") or not line.startswith("#"))]


def ordinary() -> list[tuple[str, str]]:
    """Label and command."""
    found, label = [], ""
    for line in lines("ordinary.txt"):
        if line.startswith("## "):
            label = line[3:]
        else:
            found.append((label, line))
    return found


def is_right(label: str, facts: ShellFacts) -> bool:
    """Whether the facts say just this of a command, and all of what it runs."""
    if facts.opaque:
        return False
    match label:
        case "read":
            return facts.read_only and not facts.writes_files
        case "network":
            return facts.network and not facts.writes_files and not facts.privileged
        case "change":
            return facts.writes_files and not facts.privileged
        case "root":
            return facts.privileged and not facts.writes_files
        case _:
            return facts.privileged and facts.writes_files


def test_at_least_95_percent_of_ordinary_commands_are_proved_and_rightly_classified() -> None:
    wrong = [(label, command) for label, command in ordinary() if not is_right(label, examine_shell(command=command))]

    assert len(ordinary()) >= 1_100
    assert len({command for _, command in ordinary()}) == len(ordinary())
    assert len(wrong) <= 0.05 * len(ordinary()), wrong


def test_none_of_the_ordinary_commands_is_taken_for_less_than_it_is() -> None:
    for label, command in ordinary():
        facts = examine_shell(command=command)
        assert label == "read" or not facts.read_only, command
        assert label not in {"change", "root-change"} or facts.writes_files, command
        assert label not in {"root", "root-change"} or facts.privileged, command
        assert label != "network" or facts.network, command


def test_no_hostile_command_is_called_read_only() -> None:
    hostile = lines("hostile.txt")

    assert len(hostile) >= 2_000
    assert [command for command in hostile if examine_shell(command=command).read_only] == []


def test_hostile_commands_are_not_read_only_in_wrappers_either() -> None:
    for command in lines("hostile.txt"):
        for around in (
            f"ls; {command}",
            f"{command} | cat",
            f"nice {command}",
            f"timeout 5 {command}",
            f"true && {command}",
        ):
            assert not examine_shell(command=around).read_only, around


@pytest.mark.parametrize("word", ["--frobnicate", "--frobnicate=x", "-\u00e9", "--ver\u00e9", "-Z9@"])
def test_an_option_that_nobody_knows_is_not_read_only_anywhere(word: str) -> None:
    """`echo` and its like have no options."""
    for label, command in ordinary():
        program = command.split()[0]
        if (
            label == "read"
            and "|" not in command
            and ";" not in command
            and "&&" not in command
            and "-c '" not in command
        ):
            first = examine_shell(command=f"{command} {word}" if word.isascii() else f"{command} '{word}'")
            assert not first.read_only or program in {"echo", "printf", "test", "true", "xargs", "find", "awk"}, command


def allowed(facts: ShellFacts, allow_list: list[str]) -> bool:
    """As a policy would, by programs and, where they have some, subcommands."""
    programs = {name.rpartition("/")[2] if name.startswith(("/bin/", "/usr/bin/")) else name for name in facts.programs}
    with_subcommands = {name.split()[0] for name in facts.subcommands}
    return facts.read_only and (programs - with_subcommands) | facts.subcommands <= set(allow_list)


def test_the_corpus_is_decided_as_it_should_be() -> None:
    wrong = []
    for case in cases("shell.jsonl"):
        expected = case["expected"]
        try:
            decided = allowed(examine_shell(command=case["input"]["command"]), case["input"]["allow_list"])
        except ShellError:
            decided = False
        if not expected.get("ambiguous") and expected["decision"] in {"allow", "refuse"}:
            wrong += [case["id"]] if decided != (expected["decision"] == "allow") else []
    assert wrong == []


WRAPPED = {"sh-0130": {"rm"}, "sh-0170": {"cat"}, "sh-0172": {"ls"}, "sh-0173": {"ls"}}
"""What a wrapper would have run, which the corpus' witness of a wrapper did not."""


def test_the_programs_of_proved_commands_are_those_of_the_corpus() -> None:
    wrong = proved = 0
    for case in cases("shell.jsonl"):
        expected = case["expected"]
        try:
            facts = examine_shell(command=case["input"]["command"])
        except ShellError:
            continue
        if not facts.opaque and not expected.get("ambiguous"):
            proved += 1
            ran = {*expected["programs"], *expected["builtins"]} | WRAPPED.get(case["id"], set())
            wrong += facts.programs != ran
    assert proved >= 80
    assert wrong == 0


WORDS = st.one_of(
    st.sampled_from(
        ["-c", "--", "-", "-x", "--all", "{}", ";", "+", "-exec", "-execdir", "-I", "-I{}", "sh", "find", "xargs", "env", "sudo",
         "git", "ip", "docker", "sed", "awk", "tar", "dd", "of=x", "s/a/b/", "--git-dir=.git", "a=b", "", "echo", "ls -l", "p;p"]
    ),
    st.text(max_size=6),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=9))
def test_whatever_the_words_are_there_are_facts(argv: list[str]) -> None:
    try:
        facts = examine_shell(argv=argv)
    except ShellError:
        return
    assert not (facts.read_only and (facts.opaque or facts.privileged or facts.writes_files or facts.network))
    assert not (facts.opaque and facts.paths_known)
    assert argv[0] in facts.programs


@pytest.mark.parametrize(
    "argv",
    [["nice"] * 9_000, ["sudo", "env"] * 5_000 + ["ls"], ["find", ".", *["-exec", "ls", ";"] * 3_000],
     ["sed", "p;" * 30_000 + "w x"], ["sed", " ; ".join(["p"] * 15_000) + " ;  x y"], ["awk", "{" * 60_000], ["awk", "||" * 30_000 + "|"],
     ["awk", "{a}" * 20_000 + ">"], ["cat", "/.." * 20_000], ["cat", "/./" * 20_000 + "dev/x"], ["ls", "-" + "l" * 60_000], ["tar", "t" * 60_000],
     ["curl", "h" * 60_000], ["git", "--git-dir=" + "a/" * 30_000, "log"], ["git", "--git-dir=.git", "log", "--format=" + "%G" * 30_000],
     ["zgrep", "a" * 60_000 + "\n"], ["grep", "x", "/proc/" + "root" * 15_000], ["cat", "=/proc/" * 8_000], ["find", "=proc/" * 9_000],
     ["timeout", "1" * 60_000 + "x", "ls"], ["x" + "1" * 60_000 + "x"], ["env", "1" * 60_000 + "x"], ["grep", "x", "/" * 60_000 + "x"],
     ["grep", "x", "/../" * 15_000 + "x"], ["yq", ".a | " * 10_000 + "!"], ["ss", ":1" * 30_000 + "!"], ["ss", "( " * 30_000 + "x"]],
)  # fmt: skip
def test_long_commands_are_judged_to_their_end(argv: list[str]) -> None:
    """A pattern that goes back and forth would take hours, which the limit for one test does not give it."""
    assert argv[0] in examine_shell(argv=argv).programs


@pytest.mark.parametrize(
    ("command", "writes", "removes", "known"),
    [
        ("rm -rf /tmp/a b", set(), {"/tmp/a", "b"}, True),
        ("mv a b /srv/", {"/srv/"}, {"a", "b"}, True),
        ("mv -t /srv a b", {"/srv"}, {"a", "b"}, True),
        ("cp -r a b /srv", {"/srv"}, set(), True),
        ("cp --target-directory=/srv a b", {"/srv"}, set(), True),
        ("touch /tmp/x; mkdir /srv/a", {"/tmp/x", "/srv/a"}, set(), True),
        ("mkdir -p /srv/a/b", {"/srv/a/b"}, set(), False),
        ("rmdir -p a/b", set(), {"a/b"}, False),
        ("shred -u x", {"x"}, set(), False),
        ("cp --parents a/b /srv", {"/srv"}, set(), False),
        ("ls | tee -a /tmp/x", {"/tmp/x"}, set(), True),
        ("dd if=/dev/zero of=/tmp/x", {"/tmp/x"}, set(), True),
        ("sort -o/tmp/x y", {"/tmp/x"}, set(), True),
        ("uniq a b", {"b"}, set(), True),
        ("rm -- -x", set(), {"-x"}, True),
        ("rm a/../b", set(), {"a/../b"}, False),
        ("sudo rm /tmp/a", set(), {"/tmp/a"}, True),
        ("ls | xargs rm /tmp/a", set(), {"/tmp/a"}, False),
        ("find . -exec rm '{}' +", set(), {"{}"}, False),
        ("find . -delete", set(), set(), False),
        ("sed -i p x", set(), set(), False),
        ("sed -i.bak p x", set(), set(), False),
        ("rm --frob x", set(), {"x"}, False),
        ("curl -o /tmp/x https://example.com", {"/tmp/x"}, set(), True),
        ("curl -o '#1' https://example.com", {"#1"}, set(), False),
        ("curl -o /dev/null https://example.com", set(), set(), True),
        ("curl -sD - -o /dev/null https://example.com", set(), set(), True),
        ("curl -D- -o x https://example.com", {"x"}, set(), True),
        ("sort -o - x", {"-"}, set(), True),
        ("ls | tee - /dev/stderr", {"-"}, set(), True),
        ("curl -c /dev/null https://example.com", set(), set(), False),
        ("curl -c - https://example.com", set(), set(), True),
        ("cp -d x /dev/null", {"/dev/null"}, set(), True),
        ("cp -lf x /dev/null", {"/dev/null"}, set(), True),
        ("journalctl --cursor-file=/dev/null", {"/dev/null"}, set(), True),
        ("touch /dev/stdout", {"/dev/stdout"}, set(), True),
        ("dd if=x of=/dev/null", set(), set(), True),
        ("rm /dev/stdout", set(), {"/dev/stdout"}, True),
        ("unheard-of", set(), set(), False),
        ("ls > x", set(), set(), False),
        ("systemctl restart x", set(), set(), False),
        ("tar xf x", set(), set(), False),
        ("ls", set(), set(), True),
    ],
)
def test_paths_are_named_where_they_are_provable(
    command: str, writes: set[str], removes: set[str], known: bool
) -> None:
    facts = examine_shell(command=command)

    assert facts.paths_known is known
    if known:
        assert (set(facts.writes), set(facts.removes)) == (writes, removes)
    else:
        assert not facts.read_only


@pytest.mark.parametrize(
    ("command", "programs"),
    [
        ("sudo -n nice -n 5 timeout -k 1 5 env LC_ALL=C ls", {"sudo", "nice", "timeout", "env", "ls"}),
        ("sh -c 'ls | wc -l; sudo id'", {"sh", "ls", "wc", "sudo", "id"}),
        ("bash -ec 'sh -c ls'", {"bash", "sh", "ls"}),
        ("find . -exec grep x '{}' + -exec rm '{}' ';'", {"find", "grep", "rm"}),
        ("find . -exec sh -c 'ls' '{}' ';'", {"find", "sh", "ls"}),
        ("ls | xargs", {"ls", "xargs", "echo"}),
        ("ls | xargs -0 -n 1 sudo rm -f", {"ls", "xargs", "sudo", "rm"}),
        ("flock /tmp/lock systemctl restart x", {"flock", "systemctl"}),
    ],
)
def test_wrappers_are_seen_through(command: str, programs: set[str]) -> None:
    facts = examine_shell(command=command)

    assert facts.programs == programs
    assert not facts.opaque


@pytest.mark.parametrize(
    ("command", "subcommands"),
    [
        ("systemctl --no-pager restart nginx", {"systemctl restart"}),
        ("/usr/bin/systemctl status", {"systemctl status"}),
        ("git --git-dir=.git push; ip a; ip link", {"git push", "ip addr", "ip link"}),
        ("docker container ps", {"docker container ls"}),
        ("docker container frob; ip netns exec x ls", {"docker container frob", "ip netns exec"}),
        ("podman ps; sudo docker rm x", {"podman ps", "docker rm"}),
        ("git --git-dir=.git show", {"git show"}),
        ("kubectl -n prod get pods", {"kubectl get"}),
        ("git frobnicate", {"git frobnicate"}),
        ("git --frob log", set()),
        ("git; docker container; openssl", set()),
        ("systemctl", set()),
        ("ls", set()),
    ],
)
def test_subcommands_are_named(command: str, subcommands: set[str]) -> None:
    assert examine_shell(command=command).subcommands == subcommands


@pytest.mark.parametrize(
    "command",
    [
        "brew info ./x.rb",
        "brew list /tmp/x.rb",
        "brew search user/tap/x",
        "brew info --eval-all",
        "npm view user/repository",
        "npm info git+ssh://host/x",
        "npm view x@git+https://host/x",
        "npm view ./folder",
    ],
)
def test_what_may_be_code_to_a_package_manager_is_opaque(command: str) -> None:
    assert examine_shell(command=command).opaque


@pytest.mark.parametrize("command", ["npm view express version", "npm view '@types/node@20.1'", "brew info jq"])
def test_the_name_of_a_package_is_not(command: str) -> None:
    assert not examine_shell(command=command).opaque


@pytest.mark.parametrize(
    "command", ["git", "docker container", "openssl", "apt", "nft", "kubectl -n x", "ip", "ls | xargs docker"]
)
def test_a_program_that_has_subcommands_and_gets_none_is_opaque(command: str) -> None:
    """A policy that lists subcommands would find none that it does not list."""
    assert examine_shell(command=command).opaque


@pytest.mark.parametrize(
    "command",
    [
        "wget --spider 'ftp://h/*'", "wget --spider FTP://h/x", "wget --spider h:path", "wget --spider https://a/ h:path",
        "pg_isready -d 'host=h sslkeylogfile=/tmp/x'", "pg_isready --dbname='postgresql://h/?sslkeylogfile=x'",
    ],
)  # fmt: skip
def test_where_a_program_goes_may_say_what_it_writes(command: str) -> None:
    assert examine_shell(command=command).writes_files


@pytest.mark.parametrize(
    "command",
    [
        "log --format=%G?", "shortlog --group=format:%G? HEAD", "shortlog --group=%GS HEAD", "branch --sort=-signature", "branch '--format=%(*signature)'",
        "tag -l --sort=signature:key", "for-each-ref --sort=signature",
    ],
)  # fmt: skip
def test_a_signature_that_git_has_another_program_check_is_opaque(command: str) -> None:
    assert examine_shell(argv=["git", "--git-dir=.git", *shlex.split(command)]).opaque


@pytest.mark.parametrize(
    "command",
    [
        "kubectl -A events delete x", "kubectl --ignore-not-found events delete x", "oc -w get delete x", "kubectl rollout --watch status restart x",
        "helm -a list template x", "etcdctl --cluster get defrag", "podman -D images build", "podman --debug images build", "zypper -s repos removerepo x",
        "timeout rm ls", "timeout -s KILL rm ls", "chrt -o rm ls", "kubectl apply edit-last-applied x",
    ],
)  # fmt: skip
def test_where_a_program_may_find_its_command_further_on_it_is_opaque(command: str) -> None:
    assert examine_shell(command=command).opaque


@pytest.mark.parametrize(
    ("command", "subcommands"),
    [
        ("kubectl -n x -o wide get pods -A", {"kubectl get"}),
        ("kubectl --context x rollout status deploy/y -w", {"kubectl rollout status"}),
        ("kubectl apply -f x --server-side", {"kubectl apply"}),
        ("helm -n x list -a", {"helm list"}),
        ("etcdctl endpoint health --cluster", {"etcdctl endpoint health"}),
        ("zypper -s 5 repos", {"zypper repos"}),
        ("timeout -k 1 0.5m ls; timeout 5 ls; chrt -r 10 ls", set()),
    ],
)
def test_options_before_it_do_not_hide_a_command_where_they_are_read_alike(command: str, subcommands: set[str]) -> None:
    facts = examine_shell(command=command)

    assert not facts.opaque
    assert facts.subcommands == subcommands


@pytest.mark.parametrize(
    "command",
    ["du -X /dev/watchdog", "du --exclude-from=/./dev/watchdog", "du --files0-from ../dev/watchdog", "du -X /x/../dev/watchdog"],
)  # fmt: skip
def test_a_file_of_names_that_is_opened_is_no_device(command: str) -> None:
    assert not examine_shell(command=command).read_only
