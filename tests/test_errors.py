from __future__ import annotations

import re
from collections.abc import Iterator

from mcp_gateway import errors


def drawn(tree: str) -> Iterator[tuple[str, str]]:
    """Each class in the drawing with the one that it stands below."""
    above = ["GatewayError"]
    for branch, name in re.findall(r"^    ([│ ]*)[├└]── (\w+)", tree, re.MULTILINE):
        depth = len(branch) // 4 + 1
        above[depth:] = [name]
        yield name, above[depth - 1]


def test_the_drawing_of_the_exceptions_is_the_tree_that_there_is() -> None:
    defined = {
        name: found.__mro__[1].__name__
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.GatewayError) and found is not errors.GatewayError
    }

    assert list(drawn(errors.__doc__ or "")) == list(defined.items())
