"""A served Tallystick, as the tests of HTTP have it."""

from tests.http.conftest import builder_of_server, server, settings

__all__ = ["builder_of_server", "server", "settings"]
