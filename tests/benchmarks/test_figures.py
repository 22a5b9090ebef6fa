"""Every benchmark runs from end to end, small; what it measures is not looked at."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.__main__ import main

QUICKEST = ("log.kernel", "log.storage", "log.startup", "log.capture_single", "log.floor")


@pytest.mark.parametrize("names", [QUICKEST, pytest.param(("log",), marks=pytest.mark.slow)])
def test_every_figure_is_measured_beside_its_alternative(tmp_path, capsys, names):
    """log 33: `./dev bench` prints section 8 with ratios: no figure fails, each has its numbers."""
    report = tmp_path / "report.json"
    code = main([*names, "--quick", "--json", str(report)])
    measured = json.loads(report.read_text())
    assert measured["left_out"] == {}
    assert code == 0
    assert "PostgreSQL" in measured["machine"]
    assert measured["figures"]
    for figure in measured["figures"]:
        assert math.isfinite(figure["median"])
        assert figure["alternative"] is None or math.isfinite(figure["alternative_median"])
    assert "against, in this run" in capsys.readouterr().out
