"""What tests of the runtime share: processes of `tally`, and a house to run them on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick.config import Settings, load_settings
from tallystick.db import Database, connect
from tallystick.runtime.house import initialise

WAIT_SECONDS = 30.0


def until(is_so: Callable[[], object], *, seconds: float = WAIT_SECONDS, what: str = "") -> None:
    """Wait until *is_so* returns something true, and fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, what or "it did not come about in time"
        time.sleep(0.05)


@contextlib.contextmanager
def tally_process(
    *arguments: str, environment: dict[str, str], output: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `tally` as a process of its own group, which is killed at the end if it still runs."""
    with output.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tallystick", *arguments],
            env={**os.environ, **environment},
            stdout=file,
            stderr=file,
            process_group=0,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of a Tallystick on this test's database, with its house made."""
    made = load_settings(data_dir=tmp_path / "data", database_url=database_url, sequencers=2)
    initialise(made, database_url)
    return made


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The same settings for a process."""
    assert settings.database_url is not None
    return {
        "TALLY_DATABASE_URL": settings.database_url,
        "TALLY_DATA_DIR": str(settings.data_dir),
        "TALLY_SEQUENCERS": "2",
    }


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool on this test's database."""
    with connect(database_url, pool_size=3) as pool:
        yield pool
