"""Who runs this process: for the local issuer, and for what commands record of the person at the keyboard."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path


def operating_system_user() -> str:
    """The name of the user whom this process runs as, by the system's word and not by the environment's."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"


def home_folder(environ: Mapping[str, str]) -> Path | None:
    """Where this user's own files are: the `HOME` that is absolute, else what the system knows; None where it knows nothing."""
    given = Path(environ.get("HOME", ""))
    if given.is_absolute():
        return given
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return None
