"""What stops `serve` before it serves anything is said in one line."""

from __future__ import annotations

import pytest

from mcp_gateway.cli.serving import bind
from mcp_gateway.errors import ConfigError


def test_an_address_that_is_taken_is_said() -> None:
    with bind("127.0.0.1:0") as first:
        listen = f"127.0.0.1:{first.getsockname()[1]}"

        with pytest.raises(ConfigError) as caught:
            bind(listen)

    assert str(caught.value) == f"server.listen: cannot listen on {listen!r}: another program does already"


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(
        ConfigError, match=r"^server\.listen: cannot listen on '192\.0\.2\.1:0': Cannot assign requested"
    ):
        bind("192.0.2.1:0")
