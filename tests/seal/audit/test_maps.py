"""The audit of maps: a root that the leaves do not make is named (docs/adr/0015)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.record.key_index import extend_chain
from tallystick.seal.audit import audit_log
from tallystick.seal.index import index_log
from tallystick.verify import check_history
from tests.support.mapped import Mapped, mapped_log

PAYMENTS = "INSERT INTO payment SELECT i, i, 'note' FROM generate_series(1, 40) AS i"
UPDATE = "UPDATE payment SET amount = amount + 1 WHERE id = 7"


@pytest.fixture
def mapped(database_url: str, tmp_path: Path) -> Iterator[Mapped]:
    """A full log over two tables, one of them with a name to quote and a key of two columns."""
    with mapped_log(database_url, tmp_path / "keys") as made:
        yield made


def findings(mapped: Mapped, **options: object) -> list[tuple[str, int | None]]:
    """Kind and leaf of each finding."""
    report = audit_log(mapped.bench.database, mapped.name, with_rows=False, **options)
    return [(finding.kind, finding.leaf_index) for finding in report.findings]


def seal_root(mapped: Mapped, **detail: object) -> int:
    """Seal a control leaf as a lying operator would, and return its index."""
    index = mapped.seal()
    text = json.dumps({"buckets": 65536, **detail})
    mapped.run(f"SELECT tally.queue_control({mapped.log_id}, NULL, 'index', '{text}'::jsonb)")
    mapped.seal()
    return index


def test_true_maps_are_clean(mapped):
    """An audit makes the newest map, or every one, anew and finds what was sealed."""
    for _ in range(3):
        mapped.run(PAYMENTS, UPDATE, "DELETE FROM payment")
        mapped.index()
    assert findings(mapped) == []
    assert findings(mapped, every_map=True) == []


def test_a_forged_map_is_named(mapped):
    """A map that leaves one version out verifies for its readers, and the audit names its leaf."""
    mapped.run(PAYMENTS, UPDATE, UPDATE)
    size = mapped.seal()
    # The operator's server forgets the second version of a key, and seals the map that it makes.
    indexes = [
        index
        for (index,) in mapped.rows(
            "SELECT leaf_index FROM tally.merkle_log WHERE source_key = '[\"7\"]' ORDER BY 1"
        )
    ]
    mapped.run("CREATE TABLE forgotten AS SELECT 1")
    [(key_hash,)] = mapped.rows("SELECT tally.index_key('payment', '[\"7\"]')")
    hidden = bytes(key_hash)
    for index in (indexes[0], indexes[2]):
        hidden = extend_chain(hidden, index)
    mapped.run(
        "CREATE FUNCTION lie() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" NEW.chain := '\\x{hidden.hex()}'; RETURN NEW; END $$",
        "CREATE TRIGGER lie BEFORE INSERT ON tally.key_index_entries FOR EACH ROW"
        f" WHEN (NEW.key_hash = '\\x{bytes(key_hash).hex()}') EXECUTE FUNCTION lie()",
    )
    forged = index_log(mapped.bench.database, mapped.name)
    mapped.seal()
    assert findings(mapped) == [("index_mismatch", size)]
    # What such a server would show is established for who does not have the leaves.
    mapped.tamper(
        f"UPDATE tally.merkle_log SET source_key = '[]', op = 'A', source_table = NULL"
        f" WHERE leaf_index = {indexes[1]}"
    )
    verified = check_history(mapped.history("payment", "7"), policy=mapped.policy())
    assert [version.index for version in verified.versions] == [indexes[0], indexes[2]]
    assert verified.map_root == forged.root


def test_older_forgeries_are_found_when_asked_for(mapped):
    """The newest map alone is made anew by default; every one where it is asked for."""
    mapped.run(PAYMENTS)
    forged = seal_root(mapped, size=5, root="ab" * 32)
    mapped.run(UPDATE)
    mapped.index()
    assert findings(mapped) == []
    assert findings(mapped, every_map=True) == [("index_mismatch", forged)]


def test_a_map_beyond_its_own_leaf_is_named(mapped):
    """A control leaf that claims a map of leaves behind it, or of other buckets, is a finding."""
    mapped.run(PAYMENTS)
    beyond = seal_root(mapped, size=1000, root="ab" * 32)
    other = seal_root(mapped, size=3, root="ab" * 32, buckets=256)
    assert findings(mapped, every_map=True) == [
        ("index_mismatch", other),
        ("index_mismatch", beyond),
    ]


def test_growth_audits_look_at_no_map(mapped):
    """An audit of the growth since a size has not the leaves that a map is made of."""
    mapped.run(PAYMENTS)
    size = mapped.seal()
    seal_root(mapped, size=5, root="ab" * 32)
    assert findings(mapped, since=size) == []


def test_pruned_logs_are_held_against_what_is_kept(mapped):
    """Where leaves are gone the newest map is compared with its entries, which must make it."""
    mapped.run(PAYMENTS)
    mapped.index()
    mapped.run(
        f"UPDATE tally.verification_logs SET minimum_index = 1 WHERE log_id = {mapped.log_id}",
        "INSERT INTO tally.prunings (log_id, from_index, to_index, export_url, manifest_sha256,"
        f" actor, reason) VALUES ({mapped.log_id}, 0, 1, 'file:/x', sha256('x'), 'a', 'r')",
    )
    assert "index_mismatch" not in dict(findings(mapped))
    mapped.run("UPDATE tally.key_index_entries SET chain = sha256(chain)")
    assert "index_mismatch" in dict(findings(mapped))


def test_findings_are_recorded(mapped):
    """The kind is one that the table of findings takes, with both roots."""
    mapped.run(PAYMENTS)
    index = seal_root(mapped, size=5, root="ab" * 32)
    findings(mapped)
    [(kind, leaf, actual)] = mapped.rows(
        "SELECT kind, leaf_index, actual_digest FROM tally.audit_findings"
    )
    assert (kind, leaf, bytes(actual).hex()) == ("index_mismatch", index, "ab" * 32)
