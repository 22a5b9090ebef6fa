"""What a log's page says beside its size: witnesses, keys, neighbours, map, redactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tallystick.seal.index import index_log
from tallystick.seal.succession import shard_log, succeed_log
from tallystick.verify import check_history
from tests.support.log_builder import ORIGIN_PREFIX
from tests.support.mapped import Mapped, mapped_log
from tests.support.privacy import Hidden
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
    """A private log over two tables, one with a name to quote, with a sealed map of its keys."""
    with mapped_log(database_url, tmp_path / "mapped") as made:
        made.run("INSERT INTO shop.\"Größe\" VALUES ('x\"y', 1, 'a')")
        made.index()
        publisher.refresh()
        yield made


@pytest.fixture
def hidden(database_url: str, tmp_path: Path) -> Iterator[Hidden]:
    """A log that hides things."""
    made = Hidden(database_url, tmp_path / "hidden", visibility="public")
    yield made
    made.bench.database.close()


def twin_of(client: TestClient[Any], path: str, **headers: str) -> Any:
    """The JSON twin of a page."""
    answer = client.get(path, headers=JSON | headers)
    assert answer.status_code == 200
    return answer.json()


def test_log_shows_its_witnesses(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """Each witness is shown with its state, the size that it cosigned last, and its error."""
    builder.filled("log", [b"leaf"], visibility="hashes", witness_quorum=0)
    builder.cosign("log", 1, witness="w1.example")
    builder.cosign("log", 1, witness="w2.example")
    builder.execute(
        "UPDATE tally.witnesses SET last_size = 1, last_seen_at = tally.clock()"
        " WHERE name = 'w1.example'"
    )
    builder.execute(
        f"UPDATE tally.witnesses SET enabled = false, last_error = '{EVIL}'"
        " WHERE name = 'w2.example'"
    )
    publisher.refresh()
    text = client.get("/logs/log").text
    assert '<td class="state active">active</td>' in text
    assert '<td class="state active">active, not asked</td>' in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    first, second = twin_of(client, "/logs/log")["witnesses"]
    assert (first["name"], first["status"], first["last_size"]) == ("w1.example", "active", 1)
    assert (second["enabled"], second["last_size"], second["last_error"]) == (False, None, EVIL)


def test_log_shows_the_periods_of_its_keys(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """Each key of a log is shown with the sizes that it signs."""
    builder.filled("log", [b"leaf"], visibility="hashes")
    publisher.refresh()
    [key] = twin_of(client, "/logs/log")["keys"]
    assert (key["status"], key["from_size"], key["to_size"]) == ("active", 0, None)
    assert key["vkey"].split("+")[1] == key["key_id"]
    assert f"<code>{key['vkey']}</code>" in client.get("/logs/log").text


def continue_log(builder: LogBuilder, name: str, successor: str) -> None:
    """Continue a log in a new one."""
    with builder.database.transaction() as tx:
        builder.logs[successor] = succeed_log(
            tx, name, successor, keys=builder.keys, origin_prefix=ORIGIN_PREFIX
        )
    builder.seal(name)
    builder.seal(successor)


def test_continued_logs_are_linked(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """A log leads to the one it continues, to the one that continues it, and its family."""
    builder.filled("orders_1", [b"leaf"], visibility="hashes", control_leaves=True)
    with builder.database.transaction() as tx:
        shard_log(tx, "orders_1", "orders", period="month")
    for name, successor in (("orders_1", "orders_2"), ("orders_2", "orders_3")):
        continue_log(builder, name, successor)
    builder.execute(
        "UPDATE tally.log_shards SET log_id = (SELECT max(log_id) FROM tally.log_heads)"
    )
    publisher.refresh()
    around = [twin_of(client, f"/logs/orders_{nth}")["neighbours"] for nth in (1, 2, 3)]
    assert [tuple(one.values()) for one in around] == [
        (None, "orders_2", "orders"),
        ("orders_1", "orders_3", "orders"),
        ("orders_2", None, "orders"),
    ]
    text = client.get("/logs/orders_2").text
    for name in ("orders_1", "orders_3", "orders"):
        assert f'<a href="/logs/{name}">{name}</a>' in text
    assert twin_of(client, "/logs/orders")["log"]["log_name"] == "orders_3"


def test_private_neighbours_are_not_told(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """The name of a private log or family stands on no page but the operator's."""
    builder.filled("orders_1", [b"leaf"], visibility="hashes", control_leaves=True)
    with builder.database.transaction() as tx:
        shard_log(tx, "orders_1", "orders", period="month")
    continue_log(builder, "orders_1", "orders_2")
    builder.execute(
        "UPDATE tally.log_shards SET log_id = (SELECT max(log_id) FROM tally.log_heads)"
    )
    builder.execute(
        "UPDATE tally.verification_logs SET visibility = 'private' WHERE log_name = 'orders_2'"
    )
    publisher.refresh()
    assert set(twin_of(client, "/logs/orders_1")["neighbours"].values()) == {None}
    told = twin_of(client, "/logs/orders_1", **SIGNED_IN)["neighbours"]
    assert (told["successor"], told["family"]) == ("orders_2", "orders")


def test_log_shows_the_map_of_its_keys(client: TestClient[Any], mapped: Mapped):
    """The newest map is shown with its size, its root, and the leaf that sealed it."""
    path = f"/logs/{mapped.name}"
    shown = twin_of(client, path, **SIGNED_IN)["key_map"]
    [(size, root)] = mapped.rows(
        "SELECT tree_size, encode(root_hash, 'base64') FROM tally.key_index_maps"
    )
    assert (shown["tree_size"], shown["root"]) == (size, root)
    entry = twin_of(client, f"{path}/entries/{shown['leaf_index']}", **SIGNED_IN)
    assert entry["log_name"] == mapped.name
    assert shown["at"] is not None
    assert f'action="{path}/history"' in client.get(path, headers=SIGNED_IN).text


def test_log_without_a_map_has_no_form(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """Where no map is sealed, or entries are not open, the page asks for no history."""
    builder.filled("log", [b"leaf"], visibility="public")
    publisher.refresh()
    assert twin_of(client, "/logs/log")["key_map"] is None
    assert "/history" not in client.get("/logs/log").text


def test_map_is_as_open_as_the_entries(
    client: TestClient[Any], mapped: Mapped, publisher: Publisher
):
    """A log whose hashes alone are open shows its map to the operator alone."""
    mapped.run("UPDATE tally.verification_logs SET visibility = 'hashes'")
    publisher.refresh()
    path = f"/logs/{mapped.name}"
    assert twin_of(client, path)["key_map"] is None
    assert twin_of(client, path, **SIGNED_IN)["key_map"] is not None
    parameters = {"table": "payment", "key": "1"}
    assert client.get(f"{path}/history", params=parameters).status_code == 401


def test_form_answers_a_history_that_verifies(client: TestClient[Any], mapped: Mapped):
    """What the form sends is answered with a file that verifies, names with quotes included."""
    answer = client.get(
        f"/logs/{mapped.name}/history",
        params={"table": QUOTED, "key": r'["x\"y","1"]'},
        headers=SIGNED_IN,
    )
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    verified = check_history(answer.content, policy=mapped.policy())
    assert [version.record.op for version in verified.versions] == ["insert"]


def test_history_without_a_map_is_told_as_a_page(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """A log without a map refuses a history in words."""
    builder.filled("log", [b"leaf"], visibility="public")
    publisher.refresh()
    answer = client.get("/logs/log/history", params={"table": "payment", "key": "1"})
    assert (answer.status_code, "no sealed map" in answer.text) == (404, True)


def test_redacted_leaves_are_marked(client: TestClient[Any], hidden: Hidden, publisher: Publisher):
    """A leaf whose record was erased says so, as an entry and as a row's version."""
    index = hidden.sealed("INSERT INTO person VALUES (1, 'a@example.org', '555', 'Bern', NULL)")
    kept = hidden.sealed("UPDATE person SET city = 'Thun', email = 'b@example.org', phone = '5'")
    hidden.redact(index)
    hidden.bench.seal_all()
    publisher.refresh()
    marks = [twin_of(client, f"/logs/payments/entries/{at}")["is_redacted"] for at in (index, kept)]
    assert marks == [True, False]
    mark = '<span class="mark">redacted</span>'
    assert mark in client.get(f"/logs/payments/entries/{index}").text
    assert mark not in client.get(f"/logs/payments/entries/{kept}").text
    rows = "/logs/payments/rows?table=person&key=1"
    versions = twin_of(client, rows)["versions"]
    assert [version["is_redacted"] for version in versions] == [True, False]
    assert client.get(rows).text.count(mark) == 1


def test_pruned_log_says_from_where_it_has_its_entries(
    client: TestClient[Any], mapped: Mapped, publisher: Publisher
):
    """A page says below which index entries are pruned, and shows a map whose leaf is gone."""
    shown = twin_of(client, f"/logs/{mapped.name}", **SIGNED_IN)["key_map"]
    index_log(mapped.bench.database, mapped.name)
    mapped.run(f"UPDATE tally.verification_logs SET minimum_index = {shown['leaf_index'] + 1}")
    publisher.refresh()
    page = twin_of(client, f"/logs/{mapped.name}", **SIGNED_IN)
    assert page["minimum_index"] == shown["leaf_index"] + 1
    assert (page["key_map"]["root"], page["key_map"]["at"]) == (shown["root"], None)
