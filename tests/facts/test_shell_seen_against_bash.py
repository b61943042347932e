"""Names that are hidden by expansions: what bash runs of them is named, though the command is opaque."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mcp_gateway.facts.shell import examine_shell
from tests.facts.bash_witnesses import LEAVES, make_programs, ran

COMMANDS = 400


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole of PATH."""
    return make_programs(tmp_path_factory.mktemp("bin"))


class Hider:
    """Makes commands whose programs are spelt in a way that only expansion shows, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._names = iter("abcdefghijklmnopqrstuvwxyz" * 9)

    def text(self) -> str:
        """Several commands, one after the other."""
        parts = [self._command()]
        while self._random.random() < 0.6:
            parts += [self._pick(["; ", "\n", " | ", " && ", " || ", " ;"]), self._command()]
        return "".join(parts)

    def _command(self) -> str:
        first, second = self._pick(LEAVES), self._pick(LEAVES)
        name, other = self._variable(), self._variable()
        cut = self._random.randint(1, len(first) - 1)
        head, tail = first[:cut], first[cut:]
        hexed = "".join(f"\\x{ord(letter):02x}" for letter in first)
        octal = "".join(f"\\{ord(letter):03o}" for letter in first)
        mixed = f"{head}\\u{ord(tail[0]):04x}{tail[1:]}"
        return self._pick(
            [
                f"{name}={first}; ${name} -l",
                f"{name}={first}\n${{{name}}} -l",
                f"{name}={head}; {other}={tail}; ${name}${other} x",
                f"{name}={head}; {name}+={tail}; ${name} x",
                f"{name}='{first} -l x'; ${name}",
                f'{name}="{first} -l"; ${name} | {second}',
                f"export {name}={first}; ${name}",
                f'declare {name}={first}; "${name}"',
                f"$'{hexed}' x",
                f"$'{octal}'",
                f"$'{mixed}' '-l'",
                f"{name}=$'{hexed}\\x20-l'; ${name}",
                f"{first}$IFS-l",
                f"{first}${{IFS}}-l",
                f"{first}$IFS$9x",
                f"{head}`echo {tail}` -l",
                f"{head}$(echo {tail})",
                f"$(echo {first} -l)",
                f"$(printf {head}){tail}",
                f"$(printf %s {first}) x",
                f"{{{first},-l}}",
                f"{{{first},-l}} | {second}",
                f"{head}{{{tail},}}",
                f"${name} {first} x",
                f"{head}${name}{tail} x",
                f"{head}$@{tail} x",
                f"$@ {first}",
                f"${{{name}:-{first}}} x",
                f"${{{name}-{first} -l}}",
                f"${{{name}:={first}}}; ${name}",
                f"case x in x) {first} ;; x) {second} ;; esac",
                f"case x in y) {first} ;; x) {second} ;; *) {first} ;; esac",
                f"case x in # y\n x) {first} ;; # esac\n esac; {second}",
                f"case x in x) {first} ;& y) {second} ;; esac",
                f"case x in x) : ;; y) {first} ;; es\\\nac; {second}",
                f"case x in x|y) : ;; esac-) {first} ;; esac; {second}",
                f"case x in x) case y in y) {first} ;; esac ;; *) : ;; esac; {second}",
                f"bash -c '${name} {first}'",
                f"{name}=x; case $(case a in a) {second} ;; b) rm ;; esac) in x) : ;; *) {first} ;; esac",
                f"{name}=a; ({name}={first}; ${name} -l)",
                f"for {name} in a b; do {first} ${name}; done",
            ]
        )

    def _variable(self) -> str:
        """A name that stands for nothing else in the text."""
        return f"v{next(self._names)}_"

    def _pick(self, among: list[str] | tuple[str, ...]) -> str:
        return self._random.choice(among)


def test_a_hidden_name_that_bash_comes_to_is_named(programs: Path, tmp_path: Path) -> None:
    seen = 0
    for seed in range(COMMANDS):
        text = Hider(seed).text()
        folder = tmp_path / str(seed)
        folder.mkdir()
        facts = examine_shell(command=text)
        run = ran(text, programs=programs, folder=folder)
        seen += bool(run)
        assert run <= facts.programs, text
    assert seen > COMMANDS * 0.9
