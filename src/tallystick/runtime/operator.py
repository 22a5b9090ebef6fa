"""
The operator's API key: one file beside the data, made at the first start.

Who can read it may do everything over HTTP. The file is its owner's alone (mode 0600) and
holds one line, `tly_` and 43 characters of base64url; `http/authorize.py` reads it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from tallystick.config import Settings
from tallystick.runtime.place import operator_key_path

PREFIX: Final = "tly_"
"""Lets scanners find keys that leaked."""
SECRET_BYTES: Final = 32


def operator_key_file(settings: Settings) -> Path:
    """Return the file of the operator's key; it is made if there is none, and never replaced."""
    path = operator_key_path(settings)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, flags, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(handle, "w", encoding="ascii") as file:
        # A umask may have taken bits away; the server refuses any mode but this one.
        os.fchmod(file.fileno(), 0o600)
        file.write(f"{PREFIX}{secrets.token_urlsafe(SECRET_BYTES)}\n")
        file.flush()
        os.fsync(file.fileno())
    return path
