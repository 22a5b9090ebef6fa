"""Admission: the only way in for a request (identity.md, section 4.3)."""

from tallystick.identity.admission.admission import (
    ANONYMOUS,
    Admission,
    admit,
    admit_anonymous,
    admit_anonymous_in,
    admit_in,
)

__all__ = [
    "ANONYMOUS",
    "Admission",
    "admit",
    "admit_anonymous",
    "admit_anonymous_in",
    "admit_in",
]
