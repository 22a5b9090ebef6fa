"""Disclosures: what a leaf hides, opened for whom it may be opened (log.md, section 5.3)."""

from tallystick.publish.disclosures.disclose import disclose

__all__ = ["disclose"]
