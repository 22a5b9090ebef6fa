"""A served Tallystick, as the tests of HTTP have it."""

from tests.http.conftest import server, settings

__all__ = ["server", "settings"]
