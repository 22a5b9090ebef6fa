"""A story's `tally`: commands as processes of their own, and `tally up` while it is told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tallystick.runtime.demo.errors import DemoError, expect
from tallystick.runtime.place import URL_FILE

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
COMMAND_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.05
HOST: Final = "127.0.0.1"
TERMINATED: Final = 143
"""What shells expect of a program that SIGTERM ended."""
PROGRAMS: Final = "TALLY_POSTGRES_BIN"


def environment() -> dict[str, str]:
    """Return ours without settings: a story is always the same; where PostgreSQL is, stays."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    if PROGRAMS in os.environ:
        kept[PROGRAMS] = os.environ[PROGRAMS]
    # No story is about a chain.
    kept["TALLY_DEV_CHAIN"] = "false"
    return kept


@contextlib.contextmanager
def temporary_place() -> Iterator[Path]:
    """Give a directory for the block, also if it is ended by SIGTERM: nothing is left behind."""
    # A request to end is an exit like any other, so that whatever runs is ended too.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    place = Path(tempfile.mkdtemp(prefix="tallystick-demo-"))
    try:
        # The server may run as another user, who must be able to pass through.
        place.chmod(0o755)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def run(*arguments: str, at: Path, code: int = 0) -> Any:
    """
    Run `tally` with *arguments* in the directory *at* and return what it prints as JSON.

    Raises:
        DemoError: It ends with another exit code than *code*, prints no JSON, or does not end.
    """
    command = [sys.executable, "-m", "tallystick", *arguments, "--json"]
    words = " ".join(["tally", *arguments])
    try:
        done = subprocess.run(  # noqa: S603 (our own program)
            command,
            cwd=at,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired as cause:
        raise DemoError(f"`{words}` does not end within {COMMAND_SECONDS:.0f} s") from cause
    if done.returncode != code:
        told = (done.stderr or done.stdout).strip()
        raise DemoError(f"`{words}` ended with {done.returncode}, not {code}: {told[-2000:]}")
    try:
        return json.loads(done.stdout)
    except ValueError as cause:
        raise DemoError(f"`{words}` printed no JSON: {done.stdout[:500]}") from cause


def free_port(wanted: int) -> int:
    """
    Return *wanted* if nobody listens there, else a port where nobody does.

    Raises:
        DemoError: There is none.
    """
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((HOST, port))
            return int(trial.getsockname()[1])
    raise DemoError("there is no free port")


class Tally:
    """One Tallystick in the directory *data*."""

    def __init__(self, data: Path, *, port: int) -> None:
        self.data = data
        self.url = f"http://{HOST}:{port}"
        self._port = port

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        """Run a command on it; as `run`."""
        # Beside the data: no tally.toml of the caller's directory is read.
        return run(*arguments, "--data", str(self.data), at=self.data.parent, code=code)

    @property
    def database_url(self) -> str:
        """The URL of its database; it holds a password, so it is read from its file."""
        return (self.data / URL_FILE).read_text(encoding="utf-8").strip()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """
        Run `tally up` while the block runs, and end it as Ctrl-C does.

        Raises:
            DemoError: It does not start, or does not end well.
        """
        self.data.mkdir(parents=True)
        told, log = self.data.parent / "up.json", self.data.parent / "up.log"
        command = [sys.executable, "-m", "tallystick", "up", "--json", "--data", str(self.data)]
        command += ["--host", HOST, "--port", str(self._port)]
        with told.open("wb") as out, log.open("wb") as err:
            # In a group of its own: Ctrl-C is for the story, which then ends it once.
            process = subprocess.Popen(  # noqa: S603 (our own program)
                command, cwd=self.data.parent, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=environment(), process_group=0,
            )  # fmt: skip
        try:
            wait_until_told(process, told, log)
            yield
        except BaseException:
            end(process)
            raise
        code = end(process)
        expect(code == 0, f"`tally up` ended with {code}:\n{last_lines(log)}")


def wait_until_told(process: subprocess.Popen[bytes], told: Path, log: Path) -> None:
    """
    Wait until `tally up` has said in *told* where it is.

    Raises:
        DemoError: It ended, or needs too long.
    """
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
