"""
Where the dev chain of a Tallystick is, and whether `tally up` runs one (chain.md, section 4.5).

    <data>/devchain/journal.jsonl    the chain
    <data>/devchain/url              where it answers, for commands from other shells
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.config import Settings
from tallystick.runtime.devchain.errors import DevChainMissingError
from tallystick.runtime.devchain.installed import has_dev_chain

DIRECTORY: Final = "devchain"
URL_FILE: Final = "url"
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class DevChain:
    """A dev chain that is about to be run."""

    directory: Path
    url: str
    arguments: Sequence[str]
    """What its process is told."""
    module: str = "tallystick.runtime.devchain"


def plan_dev_chain(settings: Settings) -> DevChain | None:
    """
    Return the dev chain that `tally up` runs with these settings, its URL written to its file.

    None: it is not wanted, or somebody else runs one, whose endpoint is configured.

    Raises:
        DevChainMissingError: It is asked for by name, and no EVM is installed.
    """
    if not is_wanted(settings):
        return None
    if not has_dev_chain():
        raise DevChainMissingError
    directory = dev_chain_directory(settings)
    port = choose_port(settings.port + 1 if settings.port else 0)
    url = f"http://{HOST}:{port}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    remember_url(settings, url)
    arguments = [str(directory), str(settings.keys.absolute()), "--port", str(port), "--supervised"]
    return DevChain(directory, url, [*arguments, "--log-level", settings.log_level])


def is_wanted(settings: Settings) -> bool:
    """Whether `tally up` runs a dev chain with these settings."""
    if DEV_CHAIN_ID in settings.chain_endpoints or settings.dev_chain is False:
        return False
    if settings.dev_chain:
        return True
    is_alone = settings.database_url is None and not settings.chain_endpoints
    return is_alone and has_dev_chain()


def dev_chain_directory(settings: Settings) -> Path:
    """Return where the chain is kept."""
    return settings.data_dir.absolute() / DIRECTORY


def choose_port(wanted: int) -> int:
    """Return *wanted* if nobody listens there, else a port where nobody does."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError, OverflowError), socket.socket() as trial:
            # As servers do: connections that were just closed do not count.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((HOST, port))
            return int(trial.getsockname()[1])
    return wanted


def remember_url(settings: Settings, url: str) -> None:
    """Keep where the dev chain of the data directory answers, for commands from other shells."""
    path = dev_chain_directory(settings) / URL_FILE
    path.write_text(url + "\n", encoding="ascii")


def known_url(settings: Settings) -> str | None:
    """Return where the dev chain of the data directory was last run; None: never."""
    try:
        text = (dev_chain_directory(settings) / URL_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text or None


def is_ours(settings: Settings) -> bool:
    """Whether the endpoint of the dev chain is the one of this data directory."""
    named = settings.chain_endpoints.get(DEV_CHAIN_ID, ())
    return known_url(settings) in {url.get_secret_value() for url in named}


def chain_endpoints(settings: Settings) -> Mapping[int, Sequence[SecretStr]]:
    """Return every endpoint that is known: those of the settings, and our own dev chain's."""
    url = known_url(settings)
    if url is None or DEV_CHAIN_ID in settings.chain_endpoints:
        return settings.chain_endpoints
    return {**settings.chain_endpoints, DEV_CHAIN_ID: (SecretStr(url),)}


def format_endpoints(settings: Settings, dev_chain: DevChain) -> str:
    """Return the setting `chain_endpoints` with *dev_chain* in it, as the environment holds it."""
    endpoints = {
        str(chain_id): [url.get_secret_value() for url in urls]
        for chain_id, urls in settings.chain_endpoints.items()
    }
    return json.dumps({**endpoints, str(DEV_CHAIN_ID): [dev_chain.url]})
