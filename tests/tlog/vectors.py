"""The published vectors of log.md, section 5.9, and what they are made of."""

from __future__ import annotations

import json
from pathlib import Path

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "tlog.json").read_text(encoding="utf-8")
)
LEAVES = [leaf.encode() for leaf in VECTORS["leaves"]]
