"""The page of a log's audits (log.md, 4.7 and 6.4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.seal.audit import audit_log
from tests.support.mapped import Mapped, mapped_log
from tests.web.conftest import EVIL, JSON, SIGNED_IN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from litestar.testing import TestClient

    from tallystick.publish import Publisher
    from tests.support.log_builder import LogBuilder

QUOTED = 'shop."Größe"'


@pytest.fixture
def mapped(database_url: str, tmp_path: Path, publisher: Publisher) -> Iterator[Mapped]:
    """A private log over two tables, one with a name to quote; a row of each is sealed."""
    with mapped_log(database_url, tmp_path / "mapped") as made:
        made.run(
            "INSERT INTO payment VALUES (42, 1, NULL)",
            "INSERT INTO shop.\"Größe\" VALUES ('x\"y', 1, 'a')",
        )
        made.seal()
        publisher.refresh()
        yield made


def change_behind_the_log(mapped: Mapped) -> None:
    """Change the quoted row with triggers disabled."""
    mapped.run(
        f"ALTER TABLE {QUOTED} DISABLE TRIGGER ALL",
        f"UPDATE {QUOTED} SET c = 'b'",
        f"ALTER TABLE {QUOTED} ENABLE TRIGGER ALL",
    )


def store_audit(builder: LogBuilder, log: str, counts: dict[str, Any]) -> int:
    """Store an audit of *log* with findings, and return its number."""
    log_id = builder.logs[log].log_id
    return int(
        builder.execute(
            "INSERT INTO tally.audits"
            " (log_id, kind, snapshot, tree_size, root_hash, started_at, counts, verdict)"
            f" VALUES ({log_id}, 'audit', 's', 1, '\\x00', tally.clock(),"
            f" $j${json.dumps(counts)}$j$, 'findings') RETURNING audit_id"
        )[0][0]  # type: ignore[call-overload]
    )


def test_audits_show_verdict_counts_and_findings(client: TestClient[Any], mapped: Mapped):
    """The page names the row that was changed behind the log, with column and digests."""
    audit_log(mapped.bench.database, mapped.name, processes=0)
    change_behind_the_log(mapped)
    audit_log(mapped.bench.database, mapped.name, processes=0)
    text = client.get(f"/logs/{mapped.name}/audit", headers=SIGNED_IN).text
    assert text.index('class="state findings"') < text.index('class="state clean"')
    assert "<dt>findings row changed</dt><dd>1</dd>" in text
    twin = client.get(f"/logs/{mapped.name}/audit", headers=JSON | SIGNED_IN).json()
    later, earlier = twin["audits"]
    assert [later["verdict"], earlier["verdict"]] == ["findings", "clean"]
    assert later["counts"]["findings"]["row_changed"] == 1
    [finding] = [one for one in later["findings"] if one["kind"] == "row_changed"]
    assert (finding["source_table"], finding["source_key"]) == (QUOTED, r'["x\"y","1"]')
    assert finding["columns"] == ["c"]
    assert None not in (finding["expected_digest"], finding["actual_digest"])
    assert (earlier["findings"], earlier["has_more"], twin["next"]) == ([], False, None)


def test_finding_leads_to_its_row(client: TestClient[Any], mapped: Mapped):
    """The link of a finding opens the versions of its row, whatever has to be quoted in it."""
    change_behind_the_log(mapped)
    audit_log(mapped.bench.database, mapped.name, processes=0)
    text = client.get(f"/logs/{mapped.name}/audit", headers=SIGNED_IN).text
    link = next(part for part in text.split('"') if "/rows?" in part).replace("&amp;", "&")
    twin = client.get(link, headers=JSON | SIGNED_IN).json()
    assert (twin["key"], [version["op"] for version in twin["versions"]]) == (
        ['x"y', "1"],
        ["insert"],
    )


@pytest.mark.parametrize("visibility", ["public", "hashes", "private"])
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_audits_are_for_who_may_audit(
    client: TestClient[Any],
    builder: LogBuilder,
    publisher: Publisher,
    visibility: str,
    accept: str,
):
    """Whatever a log's visibility, its audits are open to the operator alone."""
    builder.filled("log", [b"leaf"], visibility=visibility)
    publisher.refresh()
    headers = {"accept": accept}
    answer = client.get("/logs/log/audit", headers=headers)
    assert answer.status_code == 401
    assert client.get("/logs/log/audit", headers=headers | SIGNED_IN).status_code == 200
    link = '<a href="/logs/log/audit">'
    assert link in client.get("/logs/log", headers=SIGNED_IN).text
    assert link not in client.get("/logs/log").text


def test_log_without_audits_says_so(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """A log that was never audited has a page that says so; one that is not there has none."""
    builder.filled("log", [b"leaf"])
    publisher.refresh()
    assert "Nobody has audited" in client.get("/logs/log/audit", headers=SIGNED_IN).text
    assert client.get("/logs/none/audit", headers=SIGNED_IN).status_code == 404


def test_audits_are_paged(
    client: TestClient[Any],
    builder: LogBuilder,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
):
    """Pages of audits follow one another, the newest first, each audit once."""
    builder.filled("log", [b"leaf"])
    builder.filled("other", [b"leaf"])
    publisher.refresh()
    numbers = [store_audit(builder, "log", {"nth": nth}) for nth in range(5)]
    store_audit(builder, "other", {})
    monkeypatch.setattr("tallystick.web.audits.AUDITS", 2)
    found, after = [], None
    while True:
        parameters = {} if after is None else {"after": after}
        page = client.get("/logs/log/audit", params=parameters, headers=JSON | SIGNED_IN).json()
        found += [audit["audit_id"] for audit in page["audits"]]
        after = page["next"]
        if after is None:
            break
    assert found == numbers[::-1]


def test_findings_end_somewhere(
    client: TestClient[Any],
    builder: LogBuilder,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
):
    """Of many findings the first are shown, and that there are more."""
    monkeypatch.setattr("tallystick.web.audits.FINDINGS", 2)
    builder.filled("log", [b"leaf"])
    publisher.refresh()
    numbers = [store_audit(builder, "log", {}) for _ in range(2)]
    for number, count in zip(numbers, (2, 3), strict=True):
        builder.execute(
            "INSERT INTO tally.audit_findings (audit_id, kind, leaf_index)"
            f" SELECT {number}, 'leaf_changed', i FROM generate_series(0, {count - 1}) AS i"
        )
    twin = client.get("/logs/log/audit", headers=JSON | SIGNED_IN).json()
    shown = [
        ([finding["leaf_index"] for finding in audit["findings"]], audit["has_more"])
        for audit in twin["audits"]
    ]
    assert shown == [([0, 1], True), ([0, 1], False)]


@pytest.mark.parametrize("after", ["", "-1", "x", "²", "9" * 19])
def test_place_that_is_no_number_is_400(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher, after: str
):
    """A made-up place to go on from is refused in words."""
    builder.filled("log", [b"leaf"])
    publisher.refresh()
    answer = client.get("/logs/log/audit", params={"after": after}, headers=JSON | SIGNED_IN)
    assert (answer.status_code, answer.json()["code"]) == (400, "page_request")


def test_what_was_found_is_text(client: TestClient[Any], builder: LogBuilder, publisher: Publisher):
    """Markup in a count, a table, a key or a column is shown as it stands."""
    builder.filled("log", [b"leaf"])
    publisher.refresh()
    number = store_audit(builder, "log", {EVIL: {EVIL: EVIL}})
    builder.execute(
        "INSERT INTO tally.audit_findings (audit_id, kind, source_table, source_key, columns)"
        f" VALUES ({number}, 'row_changed', '{EVIL}', '[\"{EVIL}\"]', ARRAY['{EVIL}'])"
    )
    text = client.get("/logs/log/audit", headers=SIGNED_IN).text
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 6
