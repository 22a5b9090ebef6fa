"""The demo's `tally`: commands as processes of their own, and `tally up` while the demo runs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
STOP_SECONDS = 30.0
COMMAND_SECONDS = 120.0
LOOK_SECONDS = 0.05
HOST = "127.0.0.1"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
"""The demo is the same whatever the caller has set; where PostgreSQL is, is his to say."""
if "TALLY_POSTGRES_BIN" in os.environ:
    ENVIRONMENT["TALLY_POSTGRES_BIN"] = os.environ["TALLY_POSTGRES_BIN"]


class DemoError(Exception):
    """Something is not as the story expects it."""


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 (reads as a sentence)
    """
    Go on if *condition* holds.

    Raises:
        DemoError: It does not; *otherwise* says what was found.
    """
    if not condition:
        raise DemoError(otherwise)


def run(*arguments: str, at: Path | None = None, code: int = 0) -> Any:
    """
    Run `tally` with *arguments* in the directory *at* and return what it prints as JSON.

    Raises:
        DemoError: It ends with another exit code than *code*, or prints no JSON.
    """
    command = [sys.executable, "-m", "tallystick", *arguments, "--json"]
    done = subprocess.run(
        command,
        cwd=at,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    words = " ".join(["tally", *arguments])
    if done.returncode != code:
        told = (done.stderr or done.stdout).strip()
        raise DemoError(f"`{words}` ended with {done.returncode}, not {code}: {told[-2000:]}")
    try:
        return json.loads(done.stdout)
    except ValueError as cause:
        raise DemoError(f"`{words}` printed no JSON: {done.stdout[:500]}") from cause


def free_port(wanted: int) -> int:
    """Return *wanted* if nobody listens there, else a port where nobody does."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((HOST, port))
            return int(trial.getsockname()[1])
    raise DemoError("there is no free port")


class Tally:
    """One Tallystick in the directory *data*."""

    def __init__(self, data: Path, *, port: int) -> None:
        self._data = data
        self._port = port
        self.url = f"http://{HOST}:{port}"

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        """Run a command on it; as `run`."""
        return run(*arguments, "--data", str(self._data), code=code)

    @property
    def database_url(self) -> str:
        """The URL of its database; it holds a password, so it is read from its file."""
        return (self._data / "database.url").read_text(encoding="utf-8").strip()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """
        Run `tally up` while the block runs, and end it as Ctrl-C does.

        Raises:
            DemoError: It does not start, or does not end well.
        """
        self._data.mkdir(parents=True)
        told, log = self._data.parent / "up.json", self._data.parent / "up.log"
        command = [sys.executable, "-m", "tallystick", "up", "--json", "--data", str(self._data)]
        command += ["--host", HOST, "--port", str(self._port)]
        with told.open("wb") as out, log.open("wb") as err:
            # In a group of its own: Ctrl-C is for the demo, which then ends it once.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=ENVIRONMENT, process_group=0,
            )  # fmt: skip
        try:
            self._wait_until_told(process, told, log)
            yield
        except BaseException:
            end(process)
            raise
        code = end(process)
        expect(code == 0, f"`tally up` ended with {code}:\n{last_lines(log)}")

    def _wait_until_told(self, process: subprocess.Popen[bytes], told: Path, log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(ValueError):
                json.loads(told.read_bytes())
                return
            expect(process.poll() is None, f"`tally up` ended:\n{last_lines(log)}")
            expect(time.monotonic() < deadline, f"`tally up` does not start:\n{last_lines(log)}")
            time.sleep(LOOK_SECONDS)


def end(process: subprocess.Popen[bytes]) -> int:
    """End *process* and return its exit code; it gets no longer than a shutdown may take."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def last_lines(path: Path) -> str:
    """Return the end of a file."""
    return path.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
