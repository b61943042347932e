"""The life of a credential before a whole gateway: it is used, rotated, wrong, gone and thrown back, and shows nowhere.

The world searches for it in all that left the gateway, in its files, and in what runs below it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.gateways import QUERY, REQUEST, Gateway, Targets
from tests.faults.served import served
from tests.invariants.world import World
from tests.peers.api import answer
from tests.private import write_private

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R26", "I5"), pytest.mark.timeout(300)]

TOKEN = "canary-Zq8Lw2-bearer-of-the-api"
USER_PASSWORD = "canary-Hx4Rn7-basic"
REDIRECT = b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm=x\r\ncontent-length: 0\r\n\r\n"


def tables(folder: Path, url: str) -> str:
    """The API again, with credentials of two kinds."""
    common = f'kind = "http"\nlabels = {{ env = "dev" }}\nbase_url = "{url}"\nnetworks = ["127.0.0.0/8"]\n'
    return f"""
[targets.bearer]
{common}
auth = {{ bearer = {{ file = "{folder / "bearer"}" }} }}
[targets.basic]
{common}
auth = {{ basic = {{ user = "gateway", password = {{ file = "{folder / "basic"}" }} }} }}
"""


SPOILING: tuple[Callable[[Path], object], ...] = (
    lambda path: path.unlink(),
    lambda path: path.write_bytes(b""),
    lambda path: path.chmod(0o666),
)
"""What may become of a credential's file."""


async def called(gateway: Gateway, target: str, **arguments: Any) -> dict[str, Any]:
    return await gateway.call("call_api", {"target": target, "path": "x", "method": "GET"} | arguments)


def echoes(secret: str) -> dict[str, bytes]:
    """Ways for an API to throw a credential back."""
    raw = secret.encode()
    return {
        "in its text": answer(b"you said " + raw + b", did you not"),
        "as JSON": answer(b'{"token": "' + raw + b'"}', headers="content-type: application/json"),
        "as a name": answer(b'{"' + raw + b'": 1}', headers="content-type: application/json"),
        "in a header": answer(b"ok", headers=f"content-type: text/plain\r\nx-you-said: {secret}"),
        "in base64": answer(b"you said " + base64.b64encode(raw)),
        "in base64 inside": answer(b"you said " + base64.b64encode(b"Bearer " + raw)),
        "in hexadecimal": answer(raw.hex().encode()),
        "in an error": answer(b"bad token " + raw, status="401 Unauthorized"),
        "in a redirect": answer(b"", status="302 Found", headers=f"location: https://x.example/?t={secret}"),
        "in broken bytes": answer(b"\xff\xfe" + raw + b"\x00"),
        "in two parts of one": answer(raw[:9] + b"\xe2\x80\x8b" + raw[9:]),
    }


async def test_credentials_of_an_api(tmp_path: Path, world: World, targets: Targets) -> None:
    home = tmp_path / "gateway"
    home.mkdir(mode=0o700)
    for name, value in (("bearer", TOKEN), ("basic", USER_PASSWORD)):
        world.sources.add(write_private(home / name, value))
        world.canaries[f"the credential {name}"] = value.encode()
    async with served(tmp_path, targets, world=world, more=tables(home, targets.api.url)) as gateway:
        # The same API is reached as several targets.
        for name, secret in (("bearer", TOKEN), ("basic", USER_PASSWORD)):
            for how, thrown in echoes(secret).items():
                targets.api.answers = [thrown]
                found = await called(gateway, name)
                assert found.get("code", "ok") in {"ok", "failed"}, (name, how, found)
            sent = targets.api.requests[-1]
            assert TOKEN.encode() in sent or base64.b64encode(f"gateway:{USER_PASSWORD}".encode()) in sent
        targets.api.answers = [answer(b"ok")]
        # Rotated: the new one goes out with the next call, the old one is still hidden.
        world.canaries["the rotated credential"] = b"canary-rotated-Pw3"
        (home / "bearer").unlink()
        write_private(home / "bearer", "canary-rotated-Pw3")
        assert (await called(gateway, "bearer")).get("code", "ok") == "ok"
        assert b"canary-rotated-Pw3" in targets.api.requests[-1]
        targets.api.answers = [answer(f"the token before was {TOKEN}".encode())]
        await called(gateway, "bearer")
        targets.api.answers = [answer(b"ok")]
        # Gone, unreadable, empty: nothing is sent.
        for spoil in SPOILING:
            asked = len(targets.api.requests)
            path = home / "bearer"
            if not path.exists():
                write_private(path, "canary-rotated-Pw3")
            spoil(path)
            gone = await called(gateway, "bearer")
            assert gone["code"] == "target_unavailable", gone
            assert len(targets.api.requests) == asked
            path.unlink(missing_ok=True)
        assert await gateway.code(*REQUEST) == "ok"
        world.look()
        environment = Path(f"/proc/{gateway.pid}/environ").read_bytes()
        world.left["the gateway's own environment"] = bytearray(environment)
    (tmp_path / "api.api.log").unlink()


async def test_a_password_of_a_database(tmp_path: Path, world: World, targets: Targets) -> None:
    """Rotated under the gateway: the next session has the new one. Wrong: no word of it leaves."""
    database = targets.database
    database.execute("CREATE TABLE leaks (word text)")
    database.execute("INSERT INTO leaks VALUES (%s)", [database.password])
    async with served(tmp_path, targets, world=world) as gateway:
        for expression, code in (
            ("word", "ok"),
            ("encode(word::bytea, 'base64')", "ok"),
            ("'x' || word || 'x'", "ok"),
            ("json_build_object(word, word)", "ok"),
            ("word::int", "failed"),
            ("word::json", "failed"),
        ):
            found = await gateway.call("query_database", {"target": "db", "sql": f"SELECT {expression} FROM leaks"})
            assert found.get("code", "ok") == code, (expression, found)

        path = tmp_path / "gateway" / "password"
        world.canaries["a wrong password"] = b"canary-wrong-Tm5"
        world.canaries["the next password"] = b"canary-next-Vb9"
        path.unlink()
        write_private(path, "canary-wrong-Tm5")
        database.execute(f"ALTER ROLE {database.user} PASSWORD 'canary-next-Vb9'")
        database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [database.user])
        assert await gateway.code(*QUERY) == "target_unavailable"
        path.unlink()
        write_private(path, "canary-next-Vb9")
        assert await gateway.code(*QUERY) == "ok"
