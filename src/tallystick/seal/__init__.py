"""Sealing: captured changes become leaves of a signed Merkle log (log.md)."""
