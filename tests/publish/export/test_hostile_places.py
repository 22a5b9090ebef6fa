"""Whoever serves an export may be hostile: a check of it ends, in bounded memory, with a name."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tallystick.publish.errors import ExportAddressError, ExportUnavailableError
from tallystick.publish.export import check_export, objects, open_destination, open_export
from tallystick.publish.export.objects import DirectoryObjects, WebObjects
from tallystick.tlog import (
    Checkpoint,
    Hash,
    TreeSize,
    format_checkpoint,
    format_note,
    sign_note,
)
from tallystick.verify import ExportObjectError, MissingObjectError, check_export_tree
from tests.publish.export.test_check import EXPORT, LOG
from tests.support.sealed import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "tally_key_of_somebody"
Handler = http.server.BaseHTTPRequestHandler


@contextlib.contextmanager
def serving(answer: Callable[[Handler], None]) -> Iterator[str]:
    """Serve whatever *answer* does with a GET, and yield the URL."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler: Handler, status: int, body: bytes, **headers: str) -> None:
    """Answer with *body*."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def static(exported: dict[str, bytes], **headers: str) -> Callable[[Handler], None]:
    """Serve these objects."""

    def answer(handler: Handler) -> None:
        found = exported.get(handler.path.removeprefix("/"))
        send(handler, 404 if found is None else 200, found or b"", **headers)

    return answer


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:secret@example.com/logs/payments",
        "https://example.com/logs/payments?X-Amz-Signature=secret",
        "https://example.com/logs/payments#secret",
        "s3://key:secret@bucket/prefix",
        "https://[::1/logs",
        "https:///secret",
        "https://example.com:port/secret",
        "file:///tmp/a%00secret",
    ],
)
def test_an_address_that_cannot_be_recorded_is_refused(address: str) -> None:
    """A check and a pruning record the address, so that it has no secret; no word repeats it."""
    with pytest.raises(ExportAddressError) as caught:
        open_export(address)
    assert "secret" not in str(caught.value)


def test_a_directory_may_be_called_as_it_likes(tmp_path: Path) -> None:
    """What looks like a query in a directory's name is a name."""
    assert (tmp_path / "a?b#c@d").as_uri() == open_destination(str(tmp_path / "a?b#c@d")).url


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "deflate"])
def test_only_what_can_be_bounded_is_unpacked(encoding: str) -> None:
    """An answer in an encoding that nobody asked for is refused before a byte is unpacked."""
    body = gzip.compress(gzip.compress(bytes(1 << 24)))
    with (
        serving(static({"checkpoint": body}, Content_Encoding=encoding)) as url,
        pytest.raises(ExportUnavailableError, match="not asked for"),
    ):
        WebObjects(url).read_object("checkpoint")


def test_a_small_answer_that_unpacks_to_much_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of gzip so much is unpacked as the longest object may have, and one byte."""
    monkeypatch.setattr(objects, "MAX_OBJECT_BYTES", 1000)
    packed = {
        "bomb": gzip.compress(bytes(1 << 24)),
        "short": gzip.compress(b"short"),
        "half": gzip.compress(os.urandom(500))[:300],
        "none": b"none",
    }
    with serving(static(packed, Content_Encoding="gzip")) as url:
        place = WebObjects(url)
        assert bytes(1001) == place.read_object("bomb")
        assert b"short" == place.read_object("short")
        with pytest.raises(ExportUnavailableError, match="breaks off"):
            place.read_object("half")
        with pytest.raises(ExportUnavailableError):
            place.read_object("none")


def test_an_answer_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends byte after byte, each in time, is not listened to for ever."""
    monkeypatch.setattr(objects, "OBJECT_SECONDS", 0.2)

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)

    with serving(drip) as url, pytest.raises(ExportUnavailableError, match="not sent within"):
        WebObjects(url).read_object("checkpoint")


def test_no_redirect_is_followed() -> None:
    """An API key goes nowhere but to the server that it is for."""
    met: list[str | None] = []

    def other(handler: Handler) -> None:
        met.append(handler.headers["Authorization"])
        send(handler, 200, b"")

    with (
        serving(other) as elsewhere,
        serving(lambda handler: send(handler, 302, b"", Location=elsewhere)) as url,
        pytest.raises(ExportUnavailableError, match="status 302"),
    ):
        check_export(url, LOG.policy(), key=KEY)
    assert [] == met


def test_a_private_log_is_checked_with_a_key() -> None:
    """The key goes along with each request, and stands in no message."""

    def private(handler: Handler) -> None:
        if handler.headers["Authorization"] == f"Bearer {KEY}":
            static(EXPORT)(handler)
        else:
            send(handler, 401, b"")

    with serving(private) as url:
        assert 600 == check_export(url, LOG.policy(), key=KEY).entries
        with pytest.raises(ExportUnavailableError, match="status 401") as caught:
            check_export(url, LOG.policy(), key="wrong")
        assert "wrong" not in str(caught.value)


def test_a_live_log_has_no_manifest() -> None:
    """Over the web `log.json` may be missing; then every entry from the first on must be there."""
    live = {path: data for path, data in EXPORT.items() if path != "log.json"}
    with serving(static(live)) as url:
        checked = check_export(url, LOG.policy())
    assert (600, 0, None) == (checked.entries, checked.minimum_index, checked.manifest_sha256)
    pruned = {path: data for path, data in live.items() if path != "tile/entries/000"}
    with serving(static(pruned)) as url, pytest.raises(MissingObjectError):
        check_export(url, LOG.policy())


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe without a writer, where an object should be, is refused at once."""
    os.mkfifo(tmp_path / "checkpoint")
    with pytest.raises(ExportUnavailableError, match="is no file"):
        check_export(str(tmp_path), LOG.policy())
    (tmp_path / "log.json").mkdir()
    assert None is DirectoryObjects(tmp_path).read_object("log.json")


def test_a_destination_does_not_lead_elsewhere(tmp_path: Path) -> None:
    """Abandoned files are removed by their names and in the export alone, wherever a link leads."""
    elsewhere, export = tmp_path / "elsewhere", tmp_path / "export"
    elsewhere.mkdir()
    export.mkdir()
    kept = [elsewhere / "thesis.txt", elsewhere / ("a" * 32)]
    for path in kept:
        path.write_text("kept")
        os.utime(path, (0, 0))
    (export / ".writing").symlink_to(elsewhere)
    DirectoryObjects(export).replace_object("checkpoint", b"note")
    assert ["kept", "kept"] == [path.read_text() for path in kept]
    (export / ".writing").unlink()
    (export / ".writing").mkdir()
    (export / ".writing" / "thesis.txt").write_text("kept")
    os.utime(export / ".writing" / "thesis.txt", (0, 0))
    DirectoryObjects(export).replace_object("checkpoint", b"note")
    assert "kept" == (export / ".writing" / "thesis.txt").read_text()


def test_a_checkpoint_of_more_leaves_than_there_are_is_not_planned_for() -> None:
    """A signed size beyond all logs ends in a named error and not in all memory."""
    told = format_checkpoint(Checkpoint(ORIGIN, TreeSize(1 << 62), Hash(bytes(32))))
    reader = {"checkpoint": format_note(sign_note(told, LOG.signers))}

    class Reader:
        def read_object(self, path: str) -> bytes | None:
            """An object."""
            return reader.get(path)

    with pytest.raises(ExportObjectError, match="over"):
        check_export_tree(Reader(), LOG.policy())
