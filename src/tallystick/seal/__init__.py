"""Sealing: captured changes become leaves of a signed Merkle log (log.md)."""

from tallystick.outbox import register_topics

register_topics(
    {
        "log.checkpoint": "log:read",
        "log.failed": "log:read",
        "log.recovered": "log:read",
        "log.succeeded": "log:read",
        "source.broken": "log:read",
        "source.finding": "log:audit",
    }
)
