"""One change has one text, whether triggers or the WAL tell of it (log.md, section 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.record import parse_record

if TYPE_CHECKING:
    from tests.seal.wal.rig import WalRig

TYPES = {
    "b": "bool", "i2": "int2", "i4": "int4", "i8": "int8", "num": "numeric", "f4": "float4",
    "f8": "float8", "money": "money", "t": "text", "vc": "varchar(50)", "ch": "char(5)",
    "byt": "bytea", "d": "date", "ti": "time", "tz": "timetz", "ts": "timestamp",
    "tstz": "timestamptz", "iv": "interval", "u": "uuid", "ip": "inet", "ci": "cidr",
    "mac": "macaddr", "bits": "bit(3)", "vb": "varbit", "j": "json", "jb": "jsonb",
    "p": "point", "bx": "box", "ia": "int[]", "ta": "text[]", "i4r": "int4range",
    "tsr": "tstzrange", "mr": "int4multirange", "tsv": "tsvector", "lsn": "pg_lsn",
    "reg": "regclass", "oid_": "oid", "nm": "name", "mood": "mood", "pos": "posint", "comp": "pair",
}  # fmt: skip
VALUES = [
    {
        "b": "t", "i2": "-7", "i4": "2147483647", "i8": "-9223372036854775808", "num": "10.50",
        "f4": "0.1", "f8": "1e300", "money": "$1,234.50", "t": 'a"\\\n\té\u2028😀', "vc": "",
        "ch": "ab", "byt": "\\x00ff", "d": "2026-01-02", "ti": "03:04:05.000006",
        "tz": "03:04:05+02", "ts": "2026-01-02 03:04:05", "tstz": "2026-01-02 03:04:05+02",
        "iv": "1 mon 2 days 03:04:05", "u": "00112233-4455-6677-8899-aabbccddeeff",
        "ip": "10.0.0.1/8", "ci": "10.0.0.0/8", "mac": "08:00:2b:01:02:03", "bits": "101",
        "vb": "1", "j": '{ "a" : 1.0 }', "jb": '{"b": [1, null], "a": 1.00}',
        "p": "(1,2)", "bx": "(2,2),(1,1)", "ia": "{1,NULL,3}", "ta": '{"a b",NULL,"\\""}',
        "i4r": "[1,5)", "tsr": '["2026-01-02 03:04:05+02",)', "mr": "{[1,3),[5,7)}",
        "tsv": "'a':1 'b'", "lsn": "16/B374D848", "reg": "pg_class", "oid_": "42", "nm": "n",
        "mood": "glad", "pos": "3", "comp": '(1,"x y")',
    },
    {"f4": "NaN", "f8": "-0", "num": "NaN", "d": "infinity", "b": "f", "ia": "{}", "t": " "},
    {},
]  # fmt: skip


def make_tables(rig: WalRig) -> None:
    """Make one table of every type that two logs seal: from the WAL, and by triggers."""
    columns = ", ".join(f"{name} {type_name}" for name, type_name in TYPES.items())
    rig.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'glad');"
        "CREATE DOMAIN posint AS int CHECK (VALUE > 0);"
        "CREATE TYPE pair AS (a int, b text);"
        f"CREATE TABLE thing (id int PRIMARY KEY, {columns})"
    )
    rig.sql("INSERT INTO tally.verification_logs (log_name, origin) VALUES ('second', 'o/second')")
    rig.add("thing")
    rig.add("thing", log="second", capture="trigger")


def members(leaf: bytes) -> dict[str, Any]:
    """What a leaf says, but for what tells the two ways of capture apart."""
    record = parse_record(leaf)
    assert record is not None
    told = {"log", "via", "at", "role", "actor"}
    return {
        name: getattr(record, name)
        for name in type(record).__dataclass_fields__
        if name not in told
    }


def test_every_type_has_one_text(rig: WalRig):
    """log 7: of every core type, domain, enum, array, range and composite the bytes are equal."""
    make_tables(rig)
    with psycopg.connect(rig.url) as connection:
        # What a writer sets for himself is nothing to a record.
        connection.execute("SET datestyle = 'German'; SET bytea_output = 'escape'")
        connection.execute("SET timezone = 'Asia/Tokyo'; SET extra_float_digits = -5")
        for number, row in enumerate(VALUES, 1):
            names = ", ".join(["id", *row])
            marks = ", ".join(["%s", *(f"%s::{TYPES[name]}" for name in row)])
            connection.execute(
                f"INSERT INTO thing ({names}) VALUES ({marks})".encode(), [number, *row.values()]
            )
        connection.execute("UPDATE thing SET t = 'changed' WHERE id = 1")
        connection.execute("DELETE FROM thing WHERE id = 1")
    compare(rig, leaves=5)


def compare(rig: WalRig, *, leaves: int) -> None:
    """Assert that both logs were told the same; a record has one spelling, so bytes are equal."""
    from_wal = [row.leaf for row in rig.queue(rig.get("thing"))]
    by_trigger = [row.leaf for row in rig.queue(rig.get("thing", "second"))]
    assert leaves == len(from_wal)
    assert [members(leaf) for leaf in from_wal if leaf] == [
        members(leaf) for leaf in by_trigger if leaf
    ]


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
        min_size=1, max_size=4,
    ),
    numbers=st.decimals(places=4, min_value=-(10**9), max_value=10**9),
    size=st.integers(0, 9000),
    changes=st.lists(st.sampled_from(["insert", "update", "key", "noop", "delete"]), max_size=6),
)  # fmt: skip
def test_statements_leave_the_same_records(
    rig: WalRig, texts: list[str], numbers: Any, size: int, changes: list[str]
):
    """Whatever is written, the records from the WAL are those of the triggers, byte for byte."""
    if not rig.value("SELECT to_regclass('thing') IS NOT NULL"):
        make_tables(rig)
    rig.catch_up()
    rig.sql("DELETE FROM tally.capture")
    with psycopg.connect(rig.url, autocommit=True) as connection:
        for text in texts:
            connection.execute(
                "INSERT INTO thing (id, t, num, ta) SELECT coalesce(max(id), 0) + 1, %s::text, %s,"
                " ARRAY[%s, repeat('z', %s)] FROM thing",
                (text, numbers, text, size),
            )
        for change in changes:
            connection.execute(STATEMENTS[change], {"text": texts[0]})
    from_wal = [row.leaf for row in rig.queue(rig.get("thing"))]
    by_trigger = [row.leaf for row in rig.queue(rig.get("thing", "second"))]
    assert sorted(str(members(leaf)) for leaf in by_trigger if leaf) == sorted(
        str(members(leaf)) for leaf in from_wal if leaf
    )


STATEMENTS = {
    "insert": "INSERT INTO thing (id, t) SELECT coalesce(max(id), 0) + 1, %(text)s FROM thing",
    "update": (
        "UPDATE thing SET i4 = coalesce(i4, 0) + 1, vc = left(%(text)s, 50) WHERE mod(id, 2) = 0"
    ),
    "key": (
        "UPDATE thing SET id = (SELECT max(id) + 1 FROM thing)"
        " WHERE id = (SELECT min(id) FROM thing)"
    ),
    "noop": "UPDATE thing SET t = t || '', i4 = i4",
    "delete": "DELETE FROM thing WHERE id = (SELECT max(id) FROM thing)",
}
