"""
The nodes of the configuration, by chain id (chain.md, section 2: endpoints stand there only).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import SecretStr

from tallystick.chain.errors import NoEndpointError
from tallystick.chain.node.client import Node
from tallystick.record import ChainId


class Nodes:
    """One client for each network that has endpoints, made when it is first asked for."""

    def __init__(self, endpoints: Mapping[int, Sequence[SecretStr]]) -> None:
        self._endpoints = {chain_id: tuple(urls) for chain_id, urls in endpoints.items() if urls}
        self._made: dict[int, Node] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<nodes of chains {sorted(self._endpoints)}>"

    def __contains__(self, chain_id: object) -> bool:
        return chain_id in self._endpoints

    @property
    def chain_ids(self) -> tuple[ChainId, ...]:
        """The networks that have endpoints."""
        return tuple(ChainId(chain_id) for chain_id in sorted(self._endpoints))

    def of(self, chain_id: ChainId) -> Node:
        """
        Return the node of *chain_id*.

        Raises:
            NoEndpointError: The configuration names no endpoint of it.
            InvalidEndpointError: It names one that is no URL.
        """
        with self._lock:
            if chain_id not in self._made:
                if chain_id not in self._endpoints:
                    raise NoEndpointError(f"no endpoint of chain {chain_id} is configured")
                urls = [url.get_secret_value() for url in self._endpoints[chain_id]]
                self._made[chain_id] = Node(chain_id, urls)
            return self._made[chain_id]

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for node in self._made.values():
                node.close()
            self._made.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
