"""Whether an EVM is installed here (chain.md, section 4.5)."""

from __future__ import annotations

import importlib.util


def has_dev_chain() -> bool:
    """Return whether the extra `devchain` is installed; nothing is imported to find out."""
    return all(importlib.util.find_spec(name) for name in ("eth", "coincurve"))
