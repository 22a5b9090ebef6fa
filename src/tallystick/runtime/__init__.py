"""What runs a Tallystick: the embedded PostgreSQL, the workers and their supervisor."""

from tallystick.runtime.binaries import find_binaries
from tallystick.runtime.postgres import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "find_binaries"]
