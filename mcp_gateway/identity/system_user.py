"""Who runs this process: for the local issuer, and for what commands record of the person at the keyboard."""

from __future__ import annotations

import os
import pwd


def operating_system_user() -> str:
    """The name of the user whom this process runs as, by the system's word and not by the environment's."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"
