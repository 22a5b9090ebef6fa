"""The guides: their commands, settings, metrics and SQL are those of the program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import psycopg
import pytest
from prometheus_client import generate_latest

from tallystick import metrics
from tallystick.cli.app import make_app
from tallystick.config import Settings, load_settings
from tallystick.db import connect
from tallystick.seal.logs import KeyRing
from tallystick.seal.logs.operations import open_new_logs
from tests.support.logs import ORIGIN_PREFIX

GUIDES = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
ALERTS = Path(__file__).parents[2] / "docs/alerts.yml"
SUFFIXES = ("_total", "_bucket", "_count", "_sum")


def blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block of a language, with the guide that it stands in."""
    return [
        (guide.name, block)
        for guide in GUIDES
        for block in re.findall(
            rf"```{language}\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL
        )
    ]


def commands() -> list[tuple[str, str]]:
    """Every command line of every guide."""
    lines = []
    for name, block in blocks("console"):
        lines += [(name, line[2:]) for line in block.splitlines() if line.startswith("$ ")]
    return lines


@pytest.mark.parametrize(("guide", "line"), commands(), ids=lambda value: value[:60])
def test_every_command_of_a_guide_is_one(guide, line):
    """A command in a guide names a command, its options and as many arguments as it takes."""
    words = shlex.split(line)
    assert words[0] == "tally"
    make_app().parse_args(words[1:], exit_on_error=False, print_error=False)


def test_every_setting_of_a_guide_is_one():
    """A variable in a guide is a setting, or one that tells the tests where others' tools are."""
    of_tests = {"TALLY_PEER_PROGRAMS", "TALLY_PUBLIC_VECTORS"}
    known = {f"TALLY_{name.upper()}" for name in Settings.model_fields} | {"TALLY_POSTGRES_BIN"}
    known |= of_tests
    for guide in GUIDES:
        named = set(re.findall(r"\bTALLY_[A-Z_]+\b", guide.read_text(encoding="utf-8")))
        assert named <= known, guide.name


@pytest.mark.parametrize(("guide", "block"), blocks("toml"))
def test_every_configuration_of_a_guide_is_one(guide, block, tmp_path, monkeypatch):
    """A `tally.toml` in a guide is read as settings, every name and value of it."""
    monkeypatch.chdir(tmp_path)
    without = load_settings()
    (tmp_path / "tally.toml").write_text(block, encoding="utf-8")
    assert load_settings() != without, guide


def test_every_metric_of_a_guide_is_served():
    """A metric in a guide or an alert is one that `/metrics` has."""
    served = set(re.findall(r"# TYPE (tally_\w+)", generate_latest(metrics.REGISTRY).decode()))
    stems = {name.removesuffix("_total") for name in served}
    for page in [*GUIDES, ALERTS]:
        for name in set(re.findall(r"\btally_\w+\b", page.read_text(encoding="utf-8"))):
            stem = name
            for suffix in SUFFIXES:
                stem = stem.removesuffix(suffix)
            assert stem in stems or name in OTHER_NAMES, f"{page.name}: {name}"


OTHER_NAMES = {
    "tally_owner",
    "tally_app",
    "tally_poller",
    "tally_reader",
    "tally_auditor",
    "tally_heads",
}
"""Words of the same form that are roles and logs."""


def test_the_alerts_are_those_of_the_guide():
    """The table of the guide and the rules for Prometheus name the same alerts."""
    rules = set(re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8")))
    guide = (ALERTS.parent / "monitoring.md").read_text(encoding="utf-8")
    assert rules == set(re.findall(r"^\| `(Tally\w+)`", guide, re.MULTILINE))


def test_the_sql_of_a_guide_runs(database_url, tmp_path):
    """log 29: the earlier service's configuration SQL runs as the guide has it."""
    [(_, statements)] = blocks("sql")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE booking (id bigint PRIMARY KEY)")
        connection.execute("SET search_path = tally, public")
        connection.execute(statements.encode())
        with connect(database_url) as database:
            open_new_logs(database, KeyRing(tmp_path / "keys"), origin_prefix=ORIGIN_PREFIX)
        row = connection.execute("SELECT enabled, origin FROM verification_logs").fetchone()
    assert row == (False, f"{ORIGIN_PREFIX}/ledger")
