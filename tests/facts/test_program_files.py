from __future__ import annotations

import re

import pytest

from mcp_gateway.errors import ConfigError
from mcp_gateway.facts.program_files import built_in, read_programs
from mcp_gateway.facts.shell import examine_shell

SHOPCTL = """
[shopctl]
options = "-v -n: --name: --color::"
shared = true
subcommands.reads = "status list"
subcommands."changes, network" = "sync"

["shopctl export"]
writes = "-o: --output:"
"""


def problems(*texts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_programs([(f"{number}.toml", text) for number, text in enumerate(texts)])
    return [str(problem) for problem in caught.value.problems]


def test_a_file_adds_a_program_with_its_subcommands() -> None:
    knowledge = read_programs([("own.toml", SHOPCTL)])

    def facts(*argv: str) -> tuple[bool, bool, bool, frozenset[str]]:
        found = examine_shell(argv=argv, knowledge=knowledge)
        return found.read_only, found.opaque, found.network, found.writes

    assert facts("shopctl", "-v", "status", "--name", "x", "--color=auto") == (True, False, False, frozenset())
    assert facts("shopctl", "status", "--nam", "x") == (False, True, True, frozenset())
    assert facts("shopctl", "sync") == (False, False, True, frozenset())
    assert facts("shopctl", "export", "-o", "/tmp/x") == (False, False, False, frozenset({"/tmp/x"}))
    assert facts("shopctl", "drop") == (False, True, True, frozenset())
    assert examine_shell(argv=["shopctl", "status"]).writes_files, "without the file it is not known"


def test_an_option_that_is_needed_may_stand_before_the_subcommand_where_both_have_it() -> None:
    apart = read_programs([("own.toml", '[shopctl]\noptions = "-n"\n["shopctl fix"]\nneeds = "-n"')])
    shared = read_programs([("own.toml", '[shopctl]\noptions = "-n"\nshared = true\n["shopctl fix"]\nneeds = "-n"')])

    assert examine_shell(argv=["shopctl", "-n", "fix"], knowledge=shared).read_only
    assert examine_shell(argv=["shopctl", "fix", "-n"], knowledge=apart).read_only
    assert not examine_shell(argv=["shopctl", "-n", "fix"], knowledge=apart).read_only
    assert not examine_shell(argv=["shopctl", "fix"], knowledge=shared).read_only


def test_an_option_may_take_two_words() -> None:
    knowledge = read_programs([("own.toml", '[shopctl]\noptions = "--set:2"\noperands = "none"')])

    def read_only(*words: str) -> bool:
        return examine_shell(argv=["shopctl", *words], knowledge=knowledge).read_only

    assert read_only("--set", "a", "b")
    assert not read_only("--set", "a")
    assert not read_only("--set=a", "b")
    assert not read_only("--set", "a", "--set")
    assert not read_only("--set", "a", "/dev/watchdog")
    assert not read_only("--set", "a", "b", "c")


def test_options_whose_input_names_what_is_opened_have_a_file_of_the_host_to_read() -> None:
    knowledge = read_programs([("own.toml", '[shopctl]\noptions = "-c"\nlists = "-c"')])

    def read_only(*words: str) -> bool:
        return examine_shell(argv=["shopctl", *words], knowledge=knowledge).read_only

    assert read_only()
    assert read_only("-c", "/srv/list")
    assert not read_only("-c")
    assert not read_only("-c", "-")
    assert not read_only("-c", "/srv/list", "/proc/self/fd/0")
    assert problems('[mine]\nlists = "-c"') == ["0.toml:1: mine: 'lists' names '-c', which is no option here"]


def test_a_built_in_program_is_replaced_only_by_a_table_that_says_so() -> None:
    text = 'options = "-x"\nsubcommands.reads = "restart"\n'
    assert problems(f"[systemctl]\n{text}") == [
        "0.toml:1: systemctl: it is known already; say `replaces = true` to put this in its place",
        "0.toml:1: systemctl: 'systemctl restart' is known already",
    ]
    replaced = read_programs([("own.toml", f"[systemctl]\nreplaces = true\n{text}")])
    assert examine_shell(argv=["systemctl", "restart"], knowledge=replaced).read_only
    assert replaced.replaced == ("own.toml:1: systemctl",)
    assert not examine_shell(argv=["systemctl", "restart"]).read_only


def test_a_listed_subcommand_and_another_name_are_replaced_alone() -> None:
    one = read_programs([("own.toml", '["systemctl restart"]\nreplaces = true\ndoes = ["network"]')])
    assert not examine_shell(argv=["systemctl", "restart"], knowledge=one).writes_files
    assert examine_shell(argv=["systemctl", "stop"], knowledge=one).writes_files
    two = read_programs([("own.toml", '[podman]\nreplaces = true\noptions = "--version"')])
    assert not examine_shell(argv=["podman", "ps"], knowledge=two).subcommands
    assert examine_shell(argv=["docker", "ps"], knowledge=two).read_only


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["dokcer ps"]', "there is no table 'dokcer' that this could be a subcommand of"),
        ("[lss]\nreplaces = true", "it replaces nothing: no such program or subcommand is known"),
        ('[mine]\nalso = "ls"', "'ls' is known already"),
        ('["/bin/mine"]', "expected a name without a folder, or a name and its subcommands with one blank between"),
        ('["mine  sub"]', "expected a name without a folder, or a name and its subcommands with one blank between"),
        ("[mine]\noptions = 1", "expected a string for 'options'"),
        ("[mine]\nmost = true", "expected a number for 'most'"),
        ("[mine]\nsubcommands = 1", "expected a table for 'subcommands'"),
        ("[mine]\nsubcommands.reads = 1", "expected strings in 'subcommands'"),
        ('[mine]\nsubcommands.breaks = "x"', "there is no effect 'breaks'; there are writes, removes, changes, network, runs, privileged"),
        ('[mine]\nsubcommands.reads = "x"\nsubcommands.runs = "x"', "the subcommand 'x' stands twice"),
        ('[mine]\ndoes = ["reads"]', "there is no effect 'reads'; there are writes, removes, changes, network, runs, privileged"),
        ('[mine]\noptions = "-a"\nruns = "-a"', "the option '-a' stands twice"),
        ('[mine]\noptions = "-aa"', "the option '-a' stands twice"),
        ('[mine]\noptions = "--all=x"', "'--all=x' is no option as these are written"),
        ('[mine]\noptions = "all"', "'all' is no option as these are written"),
        ('[mine]\noptions = "-a"\nvalues.-b = "x"', "'values' names '-b', which is no option here"),
        ('[mine]\nwrites = "-a:"\nprints = "-b"', "'prints' names '-b', which is no option here"),
        ('[mine]\noptions = "-a"\nbefore = "-ab"', "'before' names '-b', which is no option here"),
        ('[mine]\nmatches = "("', "'(' is no regular expression"),
        ('[mine]\ngrammar = "dos"', "there is no grammar 'dos'; there are gnu, first, single, each, find, pairs, words"),
        ('[mine]\noperands = "eaten"', "operands cannot be 'eaten'; they are any, none, written, removed, last written, second written, moved, command"),
        ("mine = 1", "expected a table named as a command is typed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    (problem,) = problems(text)

    assert problem.endswith(f": {message}")
    assert problem.startswith("0.toml:1: ")


def test_an_unknown_key_is_an_error_that_names_the_known_ones() -> None:
    (problem,) = problems("[mine]\nopitons = '-a'")

    assert re.match(r"0\.toml:1: mine: there is no key 'opitons'; there are .*\boptions\b", problem)


def test_all_problems_of_all_files_come_together() -> None:
    assert len(problems("[mine]\nmost = 'x'\n[yours]\ndoes = ['x']", "[", "[ls]")) == 4


def test_the_built_in_file_reads_and_knows_what_it_should() -> None:
    programs = built_in().programs

    assert len(programs) > 500
    assert all(program.can_run for name, program in programs.items() if "runs" in program.does)
