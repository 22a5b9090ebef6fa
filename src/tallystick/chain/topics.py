"""The topics of the chain's events, each with the scope that may read them (chain.md, 4.1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

INCLUDED: Final = "chain.transaction.included"
FINALIZED: Final = "chain.transaction.finalized"
ROLLED_BACK: Final = "chain.transaction.rolled_back"
FAILED: Final = "chain.transaction.failed"

CHAIN_TOPICS: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys((INCLUDED, FINALIZED, ROLLED_BACK, FAILED), "chain:read")
)
