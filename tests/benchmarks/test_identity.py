"""The benchmarks of identity run from end to end, small; what they measure is not looked at."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_every_figure_of_identity_is_measured(tmp_path: Path) -> None:
    """identity 24: `./dev bench identity` prints each figure of section 8, none left out."""
    report = tmp_path / "report.json"
    code = main(["identity", "--quick", "--json", str(report)])
    measured = json.loads(report.read_text())
    assert measured["left_out"] == {}
    assert code == 0
    names = {figure["name"] for figure in measured["figures"]}
    for part in ("users: create", "API keys: update", "get by hash", "thousandth page", "flush of"):
        assert any(part in name for name in names), part
    assert any(name.startswith("admit, 8 clients") for name in names)
    assert all(math.isfinite(figure["median"]) for figure in measured["figures"])
