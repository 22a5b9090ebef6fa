"""Exchanges as one reads them: the request line, the status, the headers that matter, the body."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

SHOWN = (
    "content-type",
    "cache-control",
    "vary",
    "content-encoding",
    "access-control-allow-origin",
    "www-authenticate",
    "retry-after",
)


def transcript(response: httpx.Response) -> str:
    """Return an exchange without what differs from run to run."""
    request = response.request
    lines = [f"{request.method} {request.url.raw_path.decode()}", str(response.status_code)]
    lines += [f"{name}: {response.headers[name]}" for name in SHOWN if name in response.headers]
    return "\n".join(lines)


def shown(text: str) -> str:
    """Return an expected transcript that is indented in its test."""
    return "\n".join(line.strip() for line in text.strip().splitlines())
