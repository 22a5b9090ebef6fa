"""
The operator's API key: one file beside the data, made at the first start.

Who can read it may do everything over HTTP. The file is its owner's alone (mode 0600) and
holds one line, `tly_` and 43 characters of base64url.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from tallystick.config import Settings

FILE_NAME: Final = "operator.key"
PREFIX: Final = "tly_"
SECRET_BYTES: Final = 32


def operator_key_path(settings: Settings) -> Path:
    """Return where the operator's key is."""
    return settings.data_dir.absolute() / FILE_NAME


def operator_key_file(settings: Settings) -> Path:
    """Return the file of the operator's key; it is made if there is none, and never replaced."""
    path = operator_key_path(settings)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(handle, "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(f"{PREFIX}{secrets.token_urlsafe(SECRET_BYTES)}\n")
    return path
