from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import ShellFacts
from mcp_gateway.facts.shell import MAX_COMMAND_BYTES, ShellError, examine_shell, quote
from tests.corpora import cases


@pytest.mark.parametrize(
    ("command", "programs"),
    [
        ("ls -la /tmp", {"ls"}),
        ("  ls\t-l  ", {"ls"}),
        ("df -h | grep sda | wc -l", {"df", "grep", "wc"}),
        ("uptime && free; whoami || id", {"uptime", "free", "whoami", "id"}),
        ("l's' -l", {"ls"}),
        ("grep '$(id)' file", {"grep"}),
        ("cat x 2>/dev/null | wc -l 2>&1", {"cat", "wc"}),
        ("/bin/ls", {"/bin/ls"}),
        ("ls\nid", {"ls", "id"}),
        ("ls -- -rf", {"ls"}),
    ],
)
def test_the_strict_subset_is_proved(command: str, programs: set[str]) -> None:
    facts = examine_shell(command=command)

    assert facts == ShellFacts(
        programs=frozenset(programs),
        subcommands=frozenset(),
        opaque=False,
        read_only=True,
        writes_files=False,
        privileged=False,
        network=False,
        writes=frozenset(),
        removes=frozenset(),
        paths_known=True,
    )


@pytest.mark.parametrize(
    "command",
    [
        "ls $HOME", "ls `id`", "ls $(id)", "ls *", "ls ~", "ls {a,b}", "ls [a]", "ls ?", "ls \\\nid", "i\\d", "ls # x",
        "A=b ls", "LD_PRELOAD=x ls", "if true; then id; fi", "for i in a; do id; done", "! ls", "time ls", "{ ls; }",
        "(ls)", "ls &", "ls & id", "ls |& cat", "cat <<X\nX", "cat < f", "ls > f", "ls >> f", "ls >& f", "ls 2> f",
        ">/dev/null ls", "ls 'unclosed", 'ls "unclosed', 'ls "$x"', 'ls "`id`"', 'ls "a\\"b"', "ls\rid", "ls\vid",
        "ls\u00a0id", "\uff4c\uff53", "", "   ", ";", "ls ;; id", "ls && ", "| ls", "f() { id; }", "ls;;", "eval id", ". x",
        "source x", "exec id", "alias ls=id\nls", "cd /tmp && ls", "hash -p /tmp/x ls; ls", "export A=b; ls", "ls>|f",
        "coproc id", "[[ -f x ]]", "''", "printf -v x y", "ls 2>/dev/nullx", "ls 2>&1x", "ls &>/dev/null",
    ],
)  # fmt: skip
def test_whatever_leaves_the_subset_is_opaque(command: str) -> None:
    assert examine_shell(command=command).opaque


@pytest.mark.parametrize(
    "argv",
    [["test", "-v", "a[$(id)]"], ["test", "-R", "a[`id`]"], ["[", "-v", "a[$(id)]", "]"], ["/usr/bin/test", "x[$(id)]", "-eq", "1"],
     ["printf", "%d", "a[$(id)]"], ["test", "-v", "a[b]"]],
)  # fmt: skip
def test_arguments_that_a_builtin_evaluates_are_opaque(argv: list[str]) -> None:
    assert examine_shell(argv=argv).opaque
    assert examine_shell(command=quote(argv)).opaque
    assert not examine_shell(argv=["test", "-f", "/etc/passwd"]).opaque


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is the witness here; apt-get install bash")
@pytest.mark.parametrize("name", ["echo", "false", "printf", "pwd", "test", "true"])
@pytest.mark.parametrize("argument", ["$(touch W)", "a[$(touch W)]", "`touch W`", "-v a[$(touch W)]", "%d a[$(touch W)]",
                                      "a[$(touch W)] -eq 0", "-n x -a -v a[$(touch W)]"])  # fmt: skip
def test_no_builtin_runs_what_stands_in_its_arguments_without_being_opaque(
    tmp_path: Path, name: str, argument: str
) -> None:
    for argv in ([name, *argument.replace("touch W", "touch_W").split()], [name, argument]):
        words = [word.replace("touch_W", "touch W") for word in argv]
        subprocess.run([str(shutil.which("bash")), "-c", quote(words)], cwd=tmp_path, capture_output=True, check=False)
        if (tmp_path / "W").exists():
            assert examine_shell(argv=words).opaque
            (tmp_path / "W").unlink()


@pytest.mark.parametrize("program", ["/tmp/cat", "./ls", "bin/ls", "/opt/ls", "//bin/ls", "/bin/../tmp/ls", "~/ls"])
def test_a_known_name_in_an_unknown_folder_is_not_known(program: str) -> None:
    assert examine_shell(argv=[program]).writes_files


@pytest.mark.parametrize(
    "argv",
    [["ptx", "-G", "in", "out"], ["lastlog", "-C", "-u", "root"], ["lsof", "-Db", "x"], ["base64", "-o", "x"],
     ["lspci", "-q"]],
)  # fmt: skip
def test_a_program_of_which_an_option_writes_is_not_known_to_write_nothing(argv: list[str]) -> None:
    assert examine_shell(argv=argv).writes_files


@pytest.mark.parametrize(
    "program",
    ["python3.11", "perl5.36.0", "lua5.4", "/usr/bin/php8.2", "SH", "/bin/Bash", "ld-linux-aarch64.so.1", "ld-musl-x86_64.so.1",
     "vim.basic", "sqlite3", "ip", "print", "noglob", "-", "mysql"],
)  # fmt: skip
def test_interpreters_are_known_in_every_spelling(program: str) -> None:
    assert examine_shell(argv=[program, "x"]).opaque


@pytest.mark.parametrize("program", ["sudo", "doas", "/usr/bin/sudo"])
def test_a_change_of_user_is_privileged_and_seen_through(program: str) -> None:
    facts = examine_shell(argv=[program, "ls"])

    assert facts.privileged
    assert not facts.read_only
    assert not facts.opaque
    assert facts.programs == {program, "ls"}


@pytest.mark.parametrize("program", ["su", "pkexec", "nsenter", "/usr/bin/su", "runuser", "/opt/sudo"])
def test_a_change_of_user_that_is_not_seen_through_is_privileged_and_opaque(program: str) -> None:
    facts = examine_shell(argv=[program, "ls"])

    assert facts.privileged
    assert facts.opaque


@pytest.mark.parametrize(
    "argv",
    [["env", "-S", "id"], ["xargs", "sh"], ["find", "/", "-exec", "sh"], ["sh", "x"], ["git", "log"], ["eval", "id"]],
)
def test_programs_that_run_others_are_opaque(argv: list[str]) -> None:
    assert examine_shell(argv=argv).opaque


@pytest.mark.parametrize("argv", [["rm", "-rf", "/"], ["sort", "-o", "x"], ["touch", "x"], ["unheard-of"]])
def test_what_is_not_known_to_write_nothing_writes(argv: list[str]) -> None:
    facts = examine_shell(argv=argv)

    assert facts.writes_files
    assert not facts.opaque


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"command": "ls \0id"}, "the command contains a NUL character"),
        ({"argv": ["ls", "\0"]}, "the command contains a NUL character"),
        ({"argv": ["ls", "\ud800"]}, "the command contains a lone surrogate"),
        ({"argv": []}, "argv names no program"),
        ({"argv": ["", "ls"]}, "argv names no program"),
        ({}, "give exactly one of argv and command"),
        ({"argv": ["ls"], "command": "ls"}, "give exactly one of argv and command"),
        (
            {"command": "a" * (MAX_COMMAND_BYTES + 1)},
            "the command has 65,537 bytes, more than the 65,536 that are examined",
        ),
    ],
)
def test_text_that_no_shell_can_be_given_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ShellError, match=f"^{message}$"):
        examine_shell(**arguments)  # type: ignore[arg-type]  # one table for both arguments


def test_quoting_leaves_a_shell_nothing_to_read() -> None:
    assert quote(["A=b", "time", "it's", "$x", ""]) == "'A=b' 'time' 'it'\"'\"'s' '$x' ''"


@pytest.mark.parametrize("case", cases("shell.jsonl"), ids=lambda case: case["id"])
def test_no_refusal_of_the_corpus_is_let_through(case: dict[str, dict[str, object]]) -> None:
    expected = case["expected"]
    if expected.get("ambiguous"):
        return
    allow = {f"{folder}{name}" for name in case["input"]["allow_list"] for folder in ("", "/bin/", "/usr/bin/")}  # type: ignore[attr-defined]
    try:
        facts = examine_shell(command=str(case["input"]["command"]))
    except ShellError:
        assert expected["decision"] != "allow"
        return
    allowed = not (facts.opaque or facts.writes_files or facts.privileged) and facts.programs <= allow
    if expected["decision"] == "refuse":
        assert not allowed
    if not facts.opaque:
        assert set(expected["programs"]) <= facts.programs  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs that only write down that they were run, as the whole of PATH."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("ls", "cat", "id", "rm", "grep", "env", "sh", "sudo", "xargs", "wc"):
        program = folder / name
        program.write_text(f'#!{shutil.which("bash")}\nbuiltin echo {name} >> "$WITNESS"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


PIECES = st.sampled_from(
    ["ls", "cat", "id", "rm", " ", " ", "\t", "\n", ";", "|", "||", "&&", "&", "'", '"', "\\", "$", "`", "(", ")", "{",
     "}", "<", ">", "2>&1", "2>/dev/null", "#", "=", "A=b", "!", "time", "if", "then", "fi", "eval", "*", "~", "$(id)",
     "`rm`", "$IFS", "\r", "-l", "x", "''", '""', "exec", "env", "xargs"]
)  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is the witness here; apt-get install bash")
@settings(max_examples=250, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=9).map("".join))
def test_bash_runs_nothing_that_is_not_named_or_opaque(witness: Path, command: str) -> None:
    facts = examine_shell(command=command)
    if facts.opaque:
        return
    log = witness / "log"
    log.unlink(missing_ok=True)
    subprocess.run(
        [str(shutil.which("bash")), "--norc", "-c", command],
        env={"PATH": str(witness), "WITNESS": str(log)},
        cwd=os.sep,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    ran = set(log.read_text().split()) if log.exists() else set()
    assert ran <= facts.programs


@pytest.mark.parametrize(
    "command", ["python3 x.py", 'eval "$X"', "cat $FILE", 'bash -c "$(echo bHM= | base64 -d)"', 'echo "']
)
def test_what_is_opaque_may_do_anything_with_any_rights(command: str) -> None:
    facts = examine_shell(command=command)
    assert facts.opaque and facts.writes_files and facts.network and facts.privileged
    assert not (facts.read_only or facts.paths_known)
