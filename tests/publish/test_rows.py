"""Entries, rows and search: the log as history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.publish import Publisher, RowKey, SearchFilter
from tallystick.publish import leaves as module
from tallystick.publish.errors import LeafNotFoundError
from tallystick.seal.errors import InvalidRequestError
from tallystick.tlog import check_inclusion, hash_leaf
from tests.support.sealed import payment

if TYPE_CHECKING:
    from tests.support.log_builder import LogBuilder

KEY = RowKey.of("payment", "42")


def change(
    builder: LogBuilder, log: str, source: int, op: str, number: int, **more: object
) -> bytes:
    """Queue one change of the payment *number*, and return its leaf."""
    key_text = "[]" if op == "truncate" else RowKey.of("payment", str(number)).text
    if op == "truncate":
        more = {"row": None, "key": []} | more
    return builder.append_change(log, source, payment(number, op=op, **more), key_text=key_text)


def story(builder: LogBuilder, log: str, *ops: str) -> list[bytes]:
    """Make a log in which the key 42 lives through *ops*, one leaf each."""
    if log not in builder.logs:
        builder.create(log)
    source = builder.add_table(log, "payment")
    made = [change(builder, log, source, op, 42) for op in ops]
    builder.seal(log)
    return made


def test_history_is_in_order_of_index(builder: LogBuilder, publisher: Publisher) -> None:
    """A key's versions come in the order of their leaves, page by page, and no other key's."""
    builder.create("p")
    source = builder.add_table("p", "payment")
    for number in (42, 7, 42, 7, 42):
        change(builder, "p", source, "update", number)
    builder.seal("p")
    publisher.refresh()
    head = publisher.published_head("p")
    assert [one.index for one in publisher.row_history(head, KEY, limit=10)] == [0, 2, 4]
    page = publisher.row_history(head, KEY, limit=2)
    rest = publisher.row_history(head, KEY, after=(page[-1].place, page[-1].index), limit=2)
    assert [[one.index for one in part] for part in (page, rest)] == [[0, 2], [4]]


def test_history_follows_the_predecessor(builder: LogBuilder, publisher: Publisher) -> None:
    """A key's history begins in the log that this one continues, where that may be read."""
    story(builder, "before", "insert", "update")
    log_id = builder.logs["before"].log_id
    builder.create("after", predecessor_log_id=log_id)
    story(builder, "after", "delete")
    publisher.refresh()
    head = publisher.published_head("after")

    def places(**options: object) -> list[tuple[str, int]]:
        found = publisher.row_history(head, KEY, limit=10, **options)
        return [(one.log_name, one.index) for one in found]

    assert places() == [("before", 0), ("before", 1), ("after", 0)]
    assert places(after=(1, 0)) == [("before", 1), ("after", 0)]
    assert places(after=(1, 1)) == [("after", 0)]
    assert places(after=(2, 0)) == []
    assert places(may_follow=lambda _: False) == [("after", 0)]
    early = publisher.row_at(head, KEY, 0)
    assert (early.version.log_name, early.version.index, early.exists) == ("before", 1, True)
    with pytest.raises(LeafNotFoundError):
        publisher.row_at(head, KEY, 0, may_follow=lambda _: False)


def test_a_row_as_of_a_size_has_its_proof(builder: LogBuilder, publisher: Publisher) -> None:
    """A row as of a tree size is the last leaf before it, proven in that tree."""
    made = story(builder, "p", "insert", "update", "delete", "insert", "truncate")
    publisher.refresh()
    head = publisher.published_head("p")
    states = [publisher.row_at(head, KEY, size) for size in range(1, 6)]
    assert [(state.version.index, state.exists) for state in states] == [
        (0, True),
        (1, True),
        (2, False),
        (3, True),
        (4, False),
    ]
    for state in states:
        proof = state.proof
        check_inclusion(
            proof.hashes,
            leaf=hash_leaf(made[state.version.index]),
            index=proof.index,
            size=proof.size,
            root=publisher.root_at(head, proof.size),
        )
    with pytest.raises(LeafNotFoundError):
        publisher.row_at(head, KEY, 0)
    with pytest.raises(LeafNotFoundError):
        publisher.row_at(head, RowKey.of("payment", "43"), 4)


def test_entries_come_in_pages_of_bounded_bytes(
    builder: LogBuilder, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of entries ends at its limit, at the head, and where its bytes are full."""
    builder.filled("e", [b"x" * 1000] * 10)
    publisher.refresh()
    head = publisher.published_head("e")

    def indexes(first: int, limit: int) -> list[int]:
        return [entry.index for entry in publisher.entries(head, first=first, limit=limit)]

    assert (indexes(0, 3), indexes(8, 5), indexes(10, 5)) == ([0, 1, 2], [8, 9], [])
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 2500)
    assert indexes(0, 10) == [0, 1, 2]
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 1)
    assert indexes(4, 10) == [4]


@pytest.fixture
def searched(builder: LogBuilder, publisher: Publisher) -> Publisher:
    """A log of payments by several people, one after another, and a pushed entry."""
    builder.create("p")
    source = builder.add_table("p", "payment")
    for number in range(6):
        change(
            builder,
            "p",
            source,
            "insert" if number < 4 else "update",
            number,
            at=f"2026-01-0{number + 1}T00:00:00.000000Z",
            role="shop" if number % 2 else "clerk",
            actor=f"user:{number}",
        )
    builder.append("p", [b"pushed"])
    builder.seal("p")
    publisher.refresh()
    return publisher


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [6, 5, 4, 3, 2, 1, 0]),
        ({"table": "payment"}, [5, 4, 3, 2, 1, 0]),
        ({"table": "other"}, []),
        ({"op": "update"}, [5, 4]),
        ({"op": "append"}, [6]),
        ({"op": "genesis"}, []),
        ({"role": "clerk"}, [4, 2, 0]),
        ({"role": "clerk", "op": "insert"}, [2, 0]),
        ({"actor": "user:3"}, [3]),
        ({"at_from": "2026-01-05T00:00:00.000000Z"}, [5, 4]),
        ({"at_to": "2026-01-02T00:00:00.000000Z"}, [0]),
        ({"columns": {"id": "3"}}, [3]),
        ({"columns": {"id": "3", "amount": "10.50"}}, [3]),
        ({"columns": {"id": "3", "amount": "11"}}, []),
        ({"columns": {"absent": "3"}}, []),
    ],
)
def test_search_finds_what_fits_every_condition(
    searched: Publisher, wanted: dict[str, object], expected: list[int]
) -> None:
    """Each condition of a search narrows it, the newest leaf comes first."""
    head = searched.published_head("p")
    page = searched.search(head, SearchFilter(**wanted), limit=100)  # type: ignore[arg-type]
    assert [one.index for one in page.found] == expected
    assert page.next_before is None


def test_a_search_page_reads_a_bounded_number_of_leaves(
    searched: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that read its fill ends without a match, and says where the next one begins."""
    monkeypatch.setattr(module, "MAX_SEARCHED_LEAVES", 3)
    head = searched.published_head("p")
    wanted = SearchFilter(actor="user:0")
    found, before, pages = [], None, 0
    while pages == 0 or before is not None:
        page = searched.search(head, wanted, before=before, limit=10)
        found += [one.index for one in page.found]
        before, pages = page.next_before, pages + 1
    assert (found, pages) == ([0], 3)
    limited = searched.search(head, SearchFilter(), limit=2)
    assert ([one.index for one in limited.found], limited.next_before) == ([6, 5], 5)


def test_an_unknown_operation_is_refused() -> None:
    """A search for an operation that there is not is an invalid request."""
    with pytest.raises(InvalidRequestError):
        SearchFilter(op="upsert")


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        ("payment", "42", '["42"]'),
        ("public.payment", ["a", 'b"c'], '["a","b\\"c"]'),
        ("Größe", "ü", '["ü"]'),
    ],
)
def test_keys_are_spelled_as_leaves_spell_them(
    table: str, key: str | list[str], expected: str
) -> None:
    """A key is the RFC 8785 array of its texts; the schema public is not part of a table's name."""
    row = RowKey.of(table, key)
    assert (row.table, row.text) == (table.removeprefix("public."), expected)


@pytest.mark.parametrize(
    ("table", "key"), [("", "1"), ("a\x00b", "1"), ("a", "\x00"), ("a", "\ud800")]
)
def test_keys_that_are_no_text_are_refused(table: str, key: str) -> None:
    """Law 13: A name or value that PostgreSQL cannot hold is an invalid request."""
    with pytest.raises(InvalidRequestError):
        RowKey.of(table, key)
