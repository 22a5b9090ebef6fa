"""
The scopes of the whole system: what an API key may be given (identity.md, section 5.2).

A scope implies no other. The table `tally.api_scopes` holds the same rows; a route names the
scopes of which one is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NewType

Scope = NewType("Scope", str)
"""A right of an API key, `<noun>:<verb>`."""

_OF_SLICE: Final[Mapping[str, Mapping[str, str]]] = {
    "log": {
        "log:read": "Read heads, tiles and proofs of private logs.",
        "entries:read": "Read entries, records and rows, and search them.",
        "log:append": "Push entries into a log.",
        "log:admin": "Manage logs, sources, keys and witnesses; pause and stop.",
        "log:audit": "Audit and reconcile, and read findings.",
    },
    "proof": {
        "proof:read": "Read proofs and their progress.",
        "proof:request": "Request proofs.",
        "proof:bulk": "Download proofs in bulk.",
        "proof:attest": "Attest as a validator: members and statements.",
        "proof:admin": "Manage validators, batches and anchors.",
    },
    "gate": {
        "gate:read": "Read commands and their history.",
        "gate:propose": "Propose commands.",
        "gate:approve": "Approve or refuse proposed commands.",
        "gate:execute": "Execute commands as a remote executor that the definition names.",
        "gate:govern": "Change policies and definitions.",
        "gate:brake": "Pull and release brakes.",
        "gate:audit": "Read the gate's audit.",
    },
    "chain": {
        "chain:read": "Read networks, transactions, prices and contracts.",
        "chain:admin": "Manage networks, transactions, prices and contracts.",
    },
    "settle": {
        "settle:read": "Read points, escrow and payments of the key's own user.",
        "settle:write": "Move points and escrow of the key's own user.",
        "settle:admin": "Manage challenges, escrow and payments of everybody.",
    },
    "identity": {
        "identity:read": "Read any user, key and proof; never secrets.",
        "identity:admin": "Manage users, keys, tiers and proofs.",
    },
    "threat": {
        "threat:read": "Export threat signals.",
        "threat:write": "Write threat signals.",
        "threat:publish": "Publish threat signals.",
        "genome:write": "Write genomes.",
        "exploit:submit": "Submit exploits.",
        "exploit:vote": "Vote on exploits.",
        "exploit:judge": "Judge exploits.",
        "exploit:pay": "Pay for exploits.",
    },
}

SCOPES: Final[Mapping[Scope, str]] = MappingProxyType(
    {Scope(name): said for scopes in _OF_SLICE.values() for name, said in scopes.items()}
)
"""Every scope with what it opens."""
SLICE_OF_SCOPE: Final[Mapping[Scope, str]] = MappingProxyType(
    {Scope(name): owner for owner, scopes in _OF_SLICE.items() for name in scopes}
)
"""Every scope with the slice that asks for it."""
