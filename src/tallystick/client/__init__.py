"""
The Python client of the HTTP API; it needs no database driver (common.md, log.md 4.4).

    client = Client("http://127.0.0.1:7421", key)
    proof = client.prove_leaf("payments", table="payment", key=["42"])
"""

from tallystick.client.client import Client
from tallystick.client.errors import (
    ClientError,
    ForbiddenProblem,
    GoneProblem,
    InvalidRequestProblem,
    MalformedAnswerError,
    NotFoundProblem,
    RequestRefusedError,
    ServerUnreachableError,
    UnavailableProblem,
)
from tallystick.client.values import Entry, GrowthProof, LeafProof, Page, Root

__all__ = [
    "Client",
    "ClientError",
    "Entry",
    "ForbiddenProblem",
    "GoneProblem",
    "GrowthProof",
    "InvalidRequestProblem",
    "LeafProof",
    "MalformedAnswerError",
    "NotFoundProblem",
    "Page",
    "RequestRefusedError",
    "Root",
    "ServerUnreachableError",
    "UnavailableProblem",
]
