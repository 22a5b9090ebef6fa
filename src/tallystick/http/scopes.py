"""
Who may call what: one table of every route, read by the guard, the documents and the tests.

Scopes are those of the whole system; a scope implies no other. A route that is missing here
stops the start, so nothing is open by omission (identity.md, section 5.2; common.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Opened = Literal["hashes", "entries"]
"""What of a log the route shows: hashes and proofs, or the leaves themselves."""

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


@dataclass(frozen=True, slots=True)
class Need:
    """
    What a caller of a route must have.

    Nothing if *public*; else one of *scopes*, or any valid key where the route is about the
    key's user's *own*. *opened*: a log's visibility may open the route without a key.
    *metered*: strangers pay for it (docs/adr/0020); keys always do. *by_content*: a write that
    takes no Idempotency-Key, because the same again changes nothing.
    """

    scopes: tuple[str, ...] = ()
    public: bool = False
    opened: Opened | None = None
    own: bool = False
    metered: bool = True
    by_content: bool = False

    @property
    def words(self) -> str:
        """The need as the documents write it; what is enough alone is behind a comma."""
        named = {"hashes": "open", "entries": "open if public"}
        first = ["public"] * self.public + ["own"] * self.own
        if self.opened is not None:
            first.append(named[self.opened])
        return ", ".join([*first, *self.scopes])

    def opens_to(self, visibility: str) -> bool:
        """Return whether a log of this visibility opens the route to everybody."""
        match self.opened:
            case "hashes":
                return visibility in {"hashes", "public"}
            case "entries":
                return visibility == "public"
            case None:
                return False


def one_of(*scopes: str, own: bool = False, by_content: bool = False) -> Need:
    """Return the need of one of *scopes*; *own*: or of any valid key, for its user's own."""
    return Need(scopes, own=own, by_content=by_content)


PUBLIC: Final = Need(public=True)
FREE: Final = Need(public=True, metered=False)
"""Answered from memory: health, documents."""
LISTED: Final = Need(("log:read",), public=True, metered=False)
"""Public, and a key with the scope sees more."""
HASHES: Final = Need(("log:read",), opened="hashes", metered=False)
ENTRIES: Final = Need(("entries:read",), opened="entries", metered=False)
RECORDS: Final = Need(("entries:read",), opened="entries")
"""Entries that a query finds; who has no key pays for the query."""
READ: Final = one_of("log:read")
ADMIN: Final = one_of("log:admin")
AUDIT: Final = one_of("log:audit")
OWN: Final = Need(own=True)
WITNESS: Final = Need(public=True, metered=False, by_content=True)
"""Whoever is watched may ask as often as he signs; what he sends is signed."""

IDENTITY_READ: Final = one_of("identity:read")
IDENTITY_ADMIN: Final = one_of("identity:admin")
CHAIN_READ: Final = one_of("chain:read")
CHAIN_ADMIN: Final = one_of("chain:admin")
OWN_OR_READ: Final = one_of("identity:read", own=True)
OWN_OR_ADMIN: Final = one_of("identity:admin", own=True)
OWN_OR_EITHER: Final = one_of("identity:read", "identity:admin", own=True)

PUSH_NEEDS: Final = {("POST", "/logs/{log}/add"): one_of("log:append", by_content=True)}
"""The push door, which is answered without the framework too; `deduplicate` is its way."""

STATIC_NEEDS: Final[dict[str, Need]] = {
    "/logs/{log}/checkpoint": HASHES,
    "/logs/{log}/tile/{level}/{tile}": HASHES,
    "/logs/{log}/tile/entries/{tile}": ENTRIES,
}
"""Routes that are answered without the framework: GET, HEAD and OPTIONS each."""

NEEDS: Final[dict[tuple[str, str], Need]] = {
    ("GET", "/logs"): LISTED,
    ("POST", "/logs"): ADMIN,
    ("PATCH", "/logs/{log}"): ADMIN,
    ("POST", "/logs/{log}/freeze"): ADMIN,
    ("POST", "/logs/{log}/succeed"): ADMIN,
    ("POST", "/logs/{log}/keys"): ADMIN,
    ("POST", "/logs/{log}/keys/{key_id}/activate"): ADMIN,
    ("POST", "/logs/{log}/keys/{key_id}/retire"): ADMIN,
    ("POST", "/logs/{log}/sources/{table}/move"): ADMIN,
    ("GET", "/logs/{log}/root"): HASHES,
    ("GET", "/logs/{log}/size"): HASHES,
    ("GET", "/logs/{log}/exists"): HASHES,
    ("GET", "/logs/{log}/proof"): HASHES,
    ("GET", "/logs/{log}/consistency"): HASHES,
    ("GET", "/logs/{log}/has_leaf"): HASHES,
    ("GET", "/logs/{log}/has_root"): HASHES,
    ("GET", "/logs/{log}/checkpoints"): HASHES,
    ("GET", "/logs/{log}/keys"): HASHES,
    ("GET", "/logs/{log}/witnesses"): HASHES,
    ("GET", "/logs/{log}/entries"): ENTRIES,
    ("GET", "/logs/{log}/entries/{index}"): ENTRIES,
    ("GET", "/logs/{log}/rows"): RECORDS,
    ("GET", "/logs/{log}/search"): RECORDS,
    ("GET", "/logs/{log}/history"): RECORDS,
    ("POST", "/logs/{log}/audit"): AUDIT,
    ("POST", "/logs/{log}/reconcile"): AUDIT,
    ("GET", "/logs/{log}/jobs/{job}"): AUDIT,
    ("GET", "/logs/{log}/findings"): AUDIT,
    # A POST that only reads: what it opens must not stand in a query.
    ("POST", "/logs/{log}/disclose"): one_of("log:admin", by_content=True),
    ("POST", "/logs/{log}/redact"): ADMIN,
    ("GET", "/logs/{log}/sources"): READ,
    ("POST", "/logs/{log}/sources"): ADMIN,
    ("PATCH", "/logs/{log}/sources/{table}"): ADMIN,
    ("DELETE", "/logs/{log}/sources/{table}"): ADMIN,
    ("GET", "/api/v1/sinks"): ADMIN,
    ("POST", "/api/v1/sinks/{sink}/pause"): ADMIN,
    ("POST", "/api/v1/sinks/{sink}/resume"): ADMIN,
    ("POST", "/api/v1/sinks/{sink}/skip"): ADMIN,
    ("POST", "/api/v1/witness/add-checkpoint"): WITNESS,
    ("GET", "/api/v1/witness/{origin_hash}/checkpoint"): FREE,
    ("GET", "/api/v1/events"): OWN,
    ("POST", "/api/v1/users"): IDENTITY_ADMIN,
    ("GET", "/api/v1/users"): IDENTITY_READ,
    ("GET", "/api/v1/users/{user_id}"): OWN_OR_READ,
    ("PATCH", "/api/v1/users/{user_id}"): IDENTITY_ADMIN,
    ("DELETE", "/api/v1/users/{user_id}"): IDENTITY_ADMIN,
    ("POST", "/api/v1/users/{user_id}/blacklist"): IDENTITY_ADMIN,
    ("DELETE", "/api/v1/users/{user_id}/blacklist"): IDENTITY_ADMIN,
    ("PUT", "/api/v1/users/{user_id}/risk"): IDENTITY_ADMIN,
    ("GET", "/api/v1/users/{user_id}/risk-history"): OWN_OR_READ,
    ("GET", "/api/v1/users/{user_id}/verification-score"): OWN_OR_READ,
    ("GET", "/api/v1/api-keys"): OWN_OR_EITHER,
    ("POST", "/api/v1/api-keys"): OWN_OR_ADMIN,
    ("GET", "/api/v1/api-keys/{key_id}"): OWN_OR_EITHER,
    ("PATCH", "/api/v1/api-keys/{key_id}"): OWN_OR_ADMIN,
    ("DELETE", "/api/v1/api-keys/{key_id}"): OWN_OR_ADMIN,
    ("POST", "/api/v1/api-keys/{key_id}/rotate"): OWN_OR_ADMIN,
    ("GET", "/api/v1/api-keys/{key_id}/usage"): OWN_OR_ADMIN,
    ("GET", "/api/v1/tiers/{tier}"): IDENTITY_ADMIN,
    ("PUT", "/api/v1/tiers/{tier}"): IDENTITY_ADMIN,
    ("GET", "/api/v1/scopes"): PUBLIC,
    ("POST", "/api/v1/human-proofs/challenges"): OWN,
    ("GET", "/api/v1/human-proofs/challenges/{challenge_id}"): OWN,
    ("POST", "/api/v1/human-proofs/challenges/{challenge_id}/submit"): OWN,
    ("GET", "/api/v1/human-proofs"): OWN_OR_READ,
    ("POST", "/api/v1/human-proofs/{proof_id}/revoke"): IDENTITY_ADMIN,
    ("GET", "/api/v1/human-proofs/status/{wallet}"): PUBLIC,
    ("GET", "/api/v1/chain/networks"): PUBLIC,
    ("POST", "/api/v1/chain/networks/{chain_id}/pause"): CHAIN_ADMIN,
    ("POST", "/api/v1/chain/networks/{chain_id}/resume"): CHAIN_ADMIN,
    ("GET", "/api/v1/chain/contracts"): PUBLIC,
    ("GET", "/api/v1/chain/contracts/{chain}/{address}"): PUBLIC,
    ("GET", "/api/v1/chain/transactions"): CHAIN_READ,
    ("GET", "/api/v1/chain/transactions/{chain}/{transaction_hash}"): CHAIN_READ,
    ("GET", "/api/v1/chain/transactions/{chain}/{transaction_hash}/evidence"): CHAIN_READ,
    ("POST", "/api/v1/chain/transactions/{transaction_id}/cancel"): CHAIN_ADMIN,
    ("POST", "/api/v1/chain/transactions/{transaction_id}/bump"): CHAIN_ADMIN,
    ("GET", "/api/v1/chain/events"): CHAIN_READ,
    ("GET", "/api/v1/chain/statistics"): CHAIN_READ,
    ("GET", "/api/v1/chain/prices"): CHAIN_READ,
    ("POST", "/api/v1/chain/prices"): CHAIN_ADMIN,
    ("GET", "/api/v1/health"): FREE,
    ("GET", "/api/v1/health/live"): FREE,
    ("GET", "/api/v1/health/ready"): FREE,
    ("GET", "/admin/status"): ADMIN,
    ("POST", "/admin/pause"): ADMIN,
    ("POST", "/admin/resume"): ADMIN,
    ("POST", "/admin/stop"): ADMIN,
    ("GET", "/metrics"): READ,
    ("GET", "/openapi.json"): FREE,
    ("GET", "/docs"): FREE,
    ("GET", "/problems/{slice}/{code}"): FREE,
}
"""Every route of the framework, by method and path."""


def takes_key(method: str, need: Need) -> bool:
    """Return whether requests of this method to a route of this need take an Idempotency-Key."""
    return method not in READING and not need.by_content
