"""The server as a process of its own: granian, signals, a database that comes and goes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.http.conftest import TOKEN
from tests.support.log_builder import LogBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.config import Settings

PROGRAM = Path(__file__).with_name("server_process.py")


@pytest.fixture
def process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that answers."""
    environment = {
        "PATH": os.environ["PATH"],
        "TALLY_DATABASE_URL": settings.database_url or "",
        "TALLY_DATA_DIR": str(settings.data_dir),
        "TALLY_KEY_DIR": str(settings.keys),
        "TALLY_PORT": str(settings.port),
        "TALLY_ORIGIN_PREFIX": "log.example",
    }
    with subprocess.Popen([sys.executable, PROGRAM], env=environment) as started:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url_of(settings)}/api/v1/health/ready").status_code == 200:
                    break
            time.sleep(0.02)
        try:
            yield started
        finally:
            started.kill()


def url_of(settings: Settings) -> str:
    """Return where the server answers."""
    return f"http://127.0.0.1:{settings.port}"


def test_a_server_process_serves_and_ends(
    settings: Settings, process: subprocess.Popen[bytes], builder_of_server: LogBuilder
) -> None:
    """log 25: A server serves new heads within a second of sealing, and ends on SIGTERM."""
    builder_of_server.filled("live", [b"a", b"b"], visibility="public")
    with httpx.Client(base_url=url_of(settings)) as client:
        deadline = time.monotonic() + 3
        while client.get("/logs/live/checkpoint").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.get("/logs/live/proof?index=1").json()["proof"]["tree_size"] == 2
        operator = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/logs/live/sources", headers=operator).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_stream_of_events_ends_with_its_server(
    settings: Settings, process: subprocess.Popen[bytes]
) -> None:
    """log 25: On SIGTERM an open stream is ended whole, not left to its reader or torn off."""
    operator = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    url = f"{url_of(settings)}/api/v1/events"
    with httpx.stream("GET", url, headers=operator, timeout=60) as answer:
        assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        # A connection that is torn off in the middle would raise here.
        answer.read()
    assert process.wait(20) == 0


def test_requests_in_flight_are_finished(
    settings: Settings, process: subprocess.Popen[bytes], builder_of_server: LogBuilder
) -> None:
    """log 25: Under load a SIGTERM breaks no answer: it is whole, or the connection is refused."""
    builder_of_server.filled("live", [b"leaf %d" % n for n in range(2000)], visibility="public")
    time.sleep(1.2)
    broken: list[BaseException] = []
    answered: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=url_of(settings)) as client:
            for number in range(100_000):
                try:
                    response = client.get(f"/logs/live/proof?index={number % 2000}")
                    response.json()
                    answered.append(response.status_code)
                except httpx.ConnectError:
                    return
                except (httpx.RemoteProtocolError, httpx.ReadError) as error:
                    # An idle connection may be closed; an answer must not break off within it.
                    if "incomplete" in str(error):
                        broken.append(error)
                    return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    for thread in threads:
        thread.join(10)
    assert set(answered) == {200}
    assert broken == []


def test_reads_resume_when_the_database_is_back(
    settings: Settings, process: subprocess.Popen[bytes], builder_of_server: LogBuilder
) -> None:
    """log 25: Every connection lost, reads and heads go on without a restart."""
    builder_of_server.filled("live", [b"a"], visibility="public")
    time.sleep(1.2)
    with httpx.Client(base_url=url_of(settings)) as client:
        assert client.get("/logs/live/entries/0").status_code == 200
        builder_of_server.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name LIKE 'tallystick%' AND pid <> pg_backend_pid()"
            "   AND application_name <> 'tallystick'"
        )
        assert client.get("/logs/live/entries/0").status_code == 200
        builder_of_server.append("live", [b"b"])
        builder_of_server.seal("live")
        deadline = time.monotonic() + 5
        while client.get("/logs/live/size").json()["size"] != 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert process.poll() is None
