"""
Exports: a log as files that any web server can serve, written, checked and served again.

Follows log.md, section 4.8. This list is what others may use.
"""

from tallystick.publish.export.check import ExportCheck, check_export, record_check
from tallystick.publish.export.exporter import ExportReport, export_log, follow_log
from tallystick.publish.export.objects import (
    DirectoryObjects,
    ExportObjects,
    StoreObjects,
    WebObjects,
    open_destination,
    open_export,
)
from tallystick.publish.export.pruning import prune_to_export

__all__ = [
    "DirectoryObjects",
    "ExportCheck",
    "ExportObjects",
    "ExportReport",
    "StoreObjects",
    "WebObjects",
    "check_export",
    "export_log",
    "follow_log",
    "open_destination",
    "open_export",
    "prune_to_export",
    "record_check",
]
