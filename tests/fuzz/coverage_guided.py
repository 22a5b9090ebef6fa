"""
A coverage-guided fuzzer of one parser: `coverage_guided.py NAME CORPUS [libFuzzer options]`.

It runs as a process of its own, because it ends by exiting, and instruments what it imports.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["tallystick"]):
    from tests.fuzz.parsers import PARSERS, feed


def main() -> None:
    """Feed one parser until the time is over; an exception other than an Error ends it with 77."""
    name = sys.argv.pop(1)
    assert name in PARSERS
    atheris.Setup(sys.argv, lambda data: feed(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
