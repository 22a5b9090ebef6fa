"""A real browser: Debian's Chromium, driven through Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def browsing() -> Iterator[BrowserContext]:
    """Yield a browser without cookies; skips the test where no browser is installed."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("install a browser: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as started:
        # Root, as in a container, has no sandbox; and /dev/shm is small there.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = started.chromium.launch(executable_path=program, args=options)
        try:
            yield browser.new_context()
        finally:
            browser.close()
