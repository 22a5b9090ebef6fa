"""The chain's figures: each of section 8 is measured, and shown with its target."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import main
from tests.support.evm import need_anvil

if TYPE_CHECKING:
    from pathlib import Path

FIGURES = {
    r"[\d,]+ intents of one account": ("≥ 100", "≥ 3"),
    "RPC calls of an intent": ("≤ 2", None),
    "statements of an advance": (None, "≥ 1 and ≤ 1"),
    "send_many of 1,000": ("≥ 10,000", None),
    "send, p95": ("≤ 2", None),
    "inclusion to follower's commit": ("≤ 1.5", None),
    "inclusion_evidence, 200 receipts": ("≤ 300", None),
    "gas: anchor": ("≤ 50,000", None),
    "gas: checkInclusion at depth 10": ("≤ 45,000", None),
    "dev chain, transactions": ("≥ 30", None),
    "dev chain, restart": ("≤ 10", None),
}
"""How a figure's name begins, its target, and that of its ratio (chain.md, section 8)."""


@pytest.mark.slow
def test_every_figure_has_its_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """chain 24: `./dev bench chain` prints each figure of section 8 with its target."""
    need_anvil()
    measured = measure(("chain",), tmp_path)
    printed = capsys.readouterr().out
    for name, targets in FIGURES.items():
        found = [one for one in measured["figures"] if re.match(name, str(one["name"]))]
        assert found, name
        for figure in found:
            assert (figure["target"], figure["ratio_target"]) == targets
        assert all(target in printed for target in targets if target)


def test_the_quickest_figure_holds(tmp_path: Path) -> None:
    """chain 24: An advance takes the same statements for one inclusion and for many."""
    measured = measure(("chain.advancing",), tmp_path)
    held = {str(figure["name"]): figure["holds"] for figure in measured["figures"]}
    assert [held[name] for name in held if name.startswith("statements")] == [True]


def measure(names: tuple[str, ...], place: Path) -> dict[str, list[dict[str, object]]]:
    """What a quick run of these figures measured, all of it."""
    report = place / "report.json"
    assert main([*names, "--quick", "--json", str(report)]) == 0
    measured: dict[str, list[dict[str, object]]] = json.loads(report.read_text())
    assert not measured["left_out"]
    return measured
