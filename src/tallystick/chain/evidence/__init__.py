"""The evidence of inclusion: what shows offline what a transaction did (chain.md, 4.1.7)."""

from tallystick.chain.evidence.inclusion import inclusion_evidence

__all__ = ["inclusion_evidence"]
