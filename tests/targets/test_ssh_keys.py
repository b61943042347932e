"""Files of keys: whom they name, and what is said of those that cannot be used."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.targets.ssh_keys import UnusableKeyError, host_keys, private_key, read_known_hosts
from tests.peers.parts import missing
from tests.private import write_private

KEY = asyncssh.generate_private_key("ssh-ed25519")
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
LINE = KEY.export_public_key().decode().strip()
NO_KEY = "it holds no private key that can be read; expected one in OpenSSH's format, without a passphrase"
NO_HOST = "no host key of web1:22 is in it; add it after checking it, for example with ssh-keyscan -p 22 web1"
NO_LINE = "is none of a known_hosts file: expected HOST TYPE KEY, as ssh-keyscan prints it"
# Keys are made anew in each process, so no test is named after one: workers must find the same names.
FORMS = [key.export_private_key(form) for key in (KEY, RSA) for form in ("openssh", "pkcs8-pem")]


def known(folder: Path, text: str | bytes) -> Path:
    return write_private(folder / "known_hosts", text)


@pytest.mark.parametrize("names", ["web1", "[web1]:22", "*", "web2,web1", "@cert-authority web*"])
def test_the_keys_of_a_host_are_found(tmp_path: Path, names: str) -> None:
    path = known(tmp_path, f"# a comment\n\nother {LINE}\n{names} {LINE}\n")

    (found,) = host_keys(read_known_hosts(path), host="web1", port=22)

    assert found == KEY.convert_to_public()


@pytest.mark.requirement("R36")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", NO_HOST),
        (f"web10 {LINE}\n[web1]:2222 {LINE}\n@revoked web1 {LINE}\n", NO_HOST),
        (f"web1 {LINE[:40]}\n", NO_HOST),
        ("web1 what is no key at all\n", NO_HOST),
        (f"other {LINE}\njunk\n", f"line 2 {NO_LINE}"),
        (f"@nonsense web1 {LINE}\n", f"line 1 {NO_LINE}"),
        (f"|1|no hash web1 {LINE}\n", NO_HOST),
        (f"|1|no|hash {LINE}\n", f"line 1 {NO_LINE}"),
        (b"\x7fELF\xff\xfe", "expected UTF-8"),
    ],
    ids=[
        "nothing",
        "other hosts",
        "half a key",
        "no key",
        "junk below",
        "an unknown mark",
        "no hash",
        "a damaged hash",
        "a program",
    ],
)
def test_a_file_that_names_no_key_of_the_host_is_refused(tmp_path: Path, text: str | bytes, why: str) -> None:
    path = known(tmp_path, text)

    with pytest.raises(UnusableKeyError) as caught:
        host_keys(read_known_hosts(path), host="web1", port=22)

    assert str(caught.value) == why


@pytest.mark.requirement("R36")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "expected a regular file"),
        (lambda path: path.chmod(0o666), "it has mode 0666, so that others can write to it; run chmod go-w on it"),
    ],
)
def test_whom_we_trust_others_may_not_write(tmp_path: Path, change: Callable[[Path], object], why: str) -> None:
    path = known(tmp_path, f"web1 {LINE}\n")
    change(path)

    with pytest.raises(UnusableKeyError) as caught:
        read_known_hosts(path)

    assert str(caught.value) == why


@pytest.mark.parametrize("content", FORMS, ids=["ed25519", "ed25519 in PKCS8", "rsa", "rsa in PKCS8"])
def test_a_private_key_is_read(content: bytes) -> None:
    assert private_key(content) in {KEY, RSA}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", NO_KEY),
        (b"junk", NO_KEY),
        (b"\xff\xfe\x00", NO_KEY),
        (FORMS[0][:100], NO_KEY),
        (b"-----BEGIN [Y--Z-----\n\n", NO_KEY),
        (LINE.encode(), NO_KEY.replace("no private key that can be read", "a public key, not the private one")),
        (
            KEY.export_public_key("pkcs8-pem"),
            NO_KEY.replace("no private key that can be read", "a public key, not the private one"),
        ),
    ],
    ids=["nothing", "junk", "no text", "half a key", "no armour", "a public key", "a public key in PEM"],
)
def test_what_is_no_private_key_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(UnusableKeyError) as caught:
        private_key(content)

    assert str(caught.value) == why


LOCKED = "the private key in it has a passphrase, which nobody is there to type; ssh-keygen -p takes it off a copy"


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableKeyError) as caught:
        private_key(RSA.export_private_key("pkcs1-pem", passphrase="a passphrase"))

    assert str(caught.value) == LOCKED


def test_a_key_that_openssh_encrypted_is_refused(tmp_path: Path) -> None:
    program = shutil.which("ssh-keygen")
    if program is None:
        missing("there is no ssh-keygen", hint="apt-get install openssh-client")
    file = tmp_path / "key"
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "a passphrase", "-f", file], check=True, timeout=60)

    with pytest.raises(UnusableKeyError) as caught:
        private_key(file.read_bytes())

    assert str(caught.value) == LOCKED


@pytest.mark.filterwarnings("ignore::FutureWarning")  # asyncssh makes an expression of the first line
@given(st.sampled_from(FORMS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=5))
def test_a_damaged_key_is_refused_and_nothing_else_comes_of_it(content: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        private_key(bytes(damaged))
    except UnusableKeyError as error:
        assert str(error).startswith(("it holds ", "the private key in it "))
