"""
A page's value as HTML or JSON: one answer in two forms, chosen by `Accept` (log.md, 6.4).

Every value is escaped by the template engine, and the Content-Security-Policy lets the page
load nothing but our own style sheet: there is no script to run, ours or anybody's.
"""

from __future__ import annotations

import importlib.resources
import urllib.parse
from typing import Any, Final

import jinja2
import msgspec

PACKAGE: Final = "tallystick.web"
HTML: Final = "text/html"
JSON: Final = "application/json"
TEXT: Final = "text/plain"
PROBLEM: Final = "application/problem+json"
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`, with which a browser sends our own forms with the origin `null`.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept, Authorization, X-API-Key, Cookie",
}
"""What every answer says; a page may be kept, and is asked for again before it is shown."""


def prefers_html(accept: str | None, *, by_default: bool) -> bool:
    """
    Return whether an `Accept` header asks for a page rather than JSON.

    Only the two types by name count, by their quality; *by_default* where it names neither.
    """
    html, json = _quality(accept or "", HTML), _quality(accept or "", JSON)
    if html is None and json is None:
        return by_default
    return (html or 0.0) > 0 and (html or 0.0) >= (json or 0.0)


def render_html(template: str, page: Any) -> bytes:
    """Return *page* as the HTML of *template*."""
    return _ENVIRONMENT.get_template(template).render(page=page).encode()


def render_json(page: Any) -> bytes:
    """Return *page* as JSON: bytes in standard base64, times as text."""
    return msgspec.json.encode(page)


def style_sheet() -> bytes:
    """Return the explorer's style sheet."""
    return importlib.resources.files(PACKAGE).joinpath("static/explorer.css").read_bytes()


def _quality(accept: str, wanted: str) -> float | None:
    for part in accept.split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        if media_type.lower() == wanted:
            return next(map(_number, (p[2:] for p in parameters if p.startswith("q="))), 1.0)
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _shorten_time(text: str) -> str:
    """Return a message's time without its fractions, as people read it, in UTC."""
    return f"{text[:10]} {text[11:19]}"


def _show_leaf(leaf: bytes) -> str:
    """Return the leaf's bytes as text, or in hex where they are none."""
    try:
        return leaf.decode()
    except UnicodeDecodeError:
        return leaf.hex(" ", 2)


def _make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        count=lambda number: f"{number:,}",
        hex=bytes.hex,
        leaf=_show_leaf,
        segment=lambda text: urllib.parse.quote(text, safe=""),
        time=_shorten_time,
    )
    return environment


_ENVIRONMENT = _make_environment()
