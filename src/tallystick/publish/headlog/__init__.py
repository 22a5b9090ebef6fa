"""Proofs through the log of logs (log.md, section 9.2)."""

from tallystick.publish.headlog.chains import prove_through_heads

__all__ = ["prove_through_heads"]
