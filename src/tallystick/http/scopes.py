"""
Who may call what: one table of every route, read by the guard, the documents and the tests.

Scopes are those of the whole system; a scope implies no other. A route that is missing here
stops the start, so nothing is open by omission (log.md, section 6; common.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

LOG_SCOPES: Final = ("log:read", "entries:read", "log:append", "log:admin", "log:audit")

Opened = Literal["hashes", "entries"]
"""What of a log the route shows: hashes and proofs, or the leaves themselves."""


@dataclass(frozen=True, slots=True)
class Need:
    """
    What a caller of a route must have.

    Nothing if *public*; else *scope*. *opened*: a log's visibility may open the route
    without a key. *own*: any valid key opens it, for what is the key's user's own.
    """

    scope: str | None = None
    public: bool = False
    opened: Opened | None = None
    own: bool = False

    @property
    def words(self) -> str:
        """The need as the documents write it."""
        if self.opened == "hashes":
            return f"open, {self.scope}"
        if self.opened == "entries":
            return f"open if public, {self.scope}"
        if self.own:
            return "own, or the topic's read scope"
        return "public" if self.scope is None else f"{'public, ' * self.public}{self.scope}"


PUBLIC: Final = Need(public=True)
LISTED: Final = Need("log:read", public=True)
"""Public, and a key with the scope sees more."""
HASHES: Final = Need("log:read", opened="hashes")
ENTRIES: Final = Need("entries:read", opened="entries")
READ: Final = Need("log:read")
ADMIN: Final = Need("log:admin")
AUDIT: Final = Need("log:audit")
OWN: Final = Need(own=True)

PUSH_NEEDS: Final = {("POST", "/logs/{log}/add"): Need("log:append")}
"""The push door, which is answered without the framework too."""

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
    ("GET", "/logs/{log}/rows"): ENTRIES,
    ("GET", "/logs/{log}/search"): ENTRIES,
    ("GET", "/logs/{log}/history"): ENTRIES,
    ("POST", "/logs/{log}/audit"): AUDIT,
    ("POST", "/logs/{log}/reconcile"): AUDIT,
    ("GET", "/logs/{log}/jobs/{job}"): AUDIT,
    ("GET", "/logs/{log}/findings"): AUDIT,
    ("POST", "/logs/{log}/disclose"): ADMIN,
    ("POST", "/logs/{log}/redact"): ADMIN,
    ("GET", "/logs/{log}/sources"): READ,
    ("POST", "/logs/{log}/sources"): ADMIN,
    ("PATCH", "/logs/{log}/sources/{table}"): ADMIN,
    ("DELETE", "/logs/{log}/sources/{table}"): ADMIN,
    ("GET", "/api/v1/sinks"): ADMIN,
    ("POST", "/api/v1/sinks/{sink}/pause"): ADMIN,
    ("POST", "/api/v1/sinks/{sink}/resume"): ADMIN,
    ("POST", "/api/v1/sinks/{sink}/skip"): ADMIN,
    ("POST", "/api/v1/witness/add-checkpoint"): PUBLIC,
    ("GET", "/api/v1/witness/{origin_hash}/checkpoint"): PUBLIC,
    ("GET", "/api/v1/events"): OWN,
    ("GET", "/api/v1/health"): PUBLIC,
    ("GET", "/api/v1/health/live"): PUBLIC,
    ("GET", "/api/v1/health/ready"): PUBLIC,
    ("GET", "/admin/status"): ADMIN,
    ("POST", "/admin/pause"): ADMIN,
    ("POST", "/admin/resume"): ADMIN,
    ("POST", "/admin/stop"): ADMIN,
    ("GET", "/metrics"): READ,
    ("GET", "/openapi.json"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/problems/{slice}/{code}"): PUBLIC,
}
"""Every route of the framework, by method and path."""
