"""Tallystick turns PostgreSQL rows into evidence."""

__version__ = "0.1.0"
