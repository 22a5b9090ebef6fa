"""Import: the leaves of an earlier log service become a digest log with the same roots."""

from tallystick.seal.imports.operations import Imported, import_log

__all__ = ["Imported", "import_log"]
