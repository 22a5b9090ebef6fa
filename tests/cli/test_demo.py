"""`tally demo`: a shop sealed, falsified, audited and proven (log.md, section 6.4)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from tallystick.cli import run


@pytest.mark.slow
def test_demo(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    postgres_bin: Path | None,
) -> None:
    """log 33: `tally demo` exits 0 within a minute, whatever is set, and leaves nothing behind."""
    if postgres_bin is not None:
        monkeypatch.setenv("TALLY_POSTGRES_BIN", str(postgres_bin))
    monkeypatch.setenv("TALLY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    places = Path(tempfile.gettempdir())
    before = set(places.glob("tallystick-demo-*"))
    capsys.readouterr()
    code = run(["demo", "--json"])
    out, err = capsys.readouterr()
    assert (0, "") == (code, err)
    told = json.loads(out)
    details = {step["name"]: step["detail"] for step in told["steps"]}
    audits = [step["detail"] for step in told["steps"] if step["name"] == "tally audit ledger"]
    assert ["exit 1: row_changed payments", "exit 0: clean"] == [
        audits[0].partition(" [")[0],
        audits[1].partition(",")[0],
    ]
    assert details["tally verify"].startswith("exit 0, offline: leaf ")
    assert details["tally verify, one byte flipped"] == "exit 1: refused at step 'tree'"
    assert {"catalogue", "sales", "ledger"} == told["leaves"].keys()
    assert told["seconds"] < 60
    assert before == set(places.glob("tallystick-demo-*"))
