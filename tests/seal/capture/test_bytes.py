"""The bytes of leaves: the generated SQL writes what `format_record` writes (log.md, 5.2)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tallystick.record import Change, canonical, format_record, row_key
from tests.seal.capture.rig import TAG, Queued, Rig

TYPES: dict[str, list[str]] = {
    "bool": ["t", "f"],
    '"char"': ["a", "\\", '"'],
    "int2": ["-32768"],
    "int4": ["2147483647"],
    "int8": ["-9223372036854775808"],
    "oid": ["4294967295"],
    "float4": ["1.1", "NaN", "-Infinity", "1e-40"],
    "float8": ["0.1", "-0", "1e300", "Infinity"],
    "numeric": ["10.50", "-0.0001", "NaN", "Infinity", "1e300", "1." + "0" * 60],
    "numeric(12, 2)": ["1.5"],
    "money": ["12.34", "-1"],
    "text": ["", 'a"b\\c\n\t\b\f\r\x01\x1f\x7f', "é\u2028\ufffd\U0001f600", "</script>"],
    "varchar(20)": ['say "hi"'],
    "char(8)": ["a b"],
    "name": ["Größe"],
    "bytea": ["\\x00ff5c22", ""],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "json": ['{"a" : [1.0, "é\\u0001"]}'],
    "jsonb": ['{"b": 1.10, "a": null}'],
    "jsonpath": ["$.a[*] ? (@ > 1)"],
    "date": ["2026-02-01", "0044-03-15 BC", "infinity"],
    "time": ["23:59:59.999999"],
    "timetz": ["12:00:00+05:30"],
    "timestamp": ["2026-02-01 03:04:05.000006", "-infinity"],
    "timestamptz": ["2026-02-01 03:04:05+05:30", "0044-03-15 00:00 BC"],
    "interval": ["1 year -2 mons 3 days -04:05:06.7"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(4)": ["1010"],
    "varbit": ["101"],
    "point": ["(1.1,2)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(0,0),(1.1,1)]"],
    "box": ["(1.1,1),(0,0)"],
    "path": ["((0,0),(1.1,1))"],
    "polygon": ["((0,0),(1.1,1),(2,0))"],
    "circle": ["<(0,0),1.1>"],
    "tsvector": ["'a':1A 'b c':2"],
    "tsquery": ["'a' & !'b'"],
    "regclass": ["pg_class", "t"],
    "regtype": ["integer", "mood"],
    "regproc": ["now"],
    "pg_lsn": ["16/B374D848"],
    "xid": ["7"],
    "xid8": ["18446744073709551615"],
    "tid": ["(3,4)"],
    "pg_snapshot": ["10:20:10,14"],
    "refcursor": ['a"b'],
    "int2vector": ["1 2"],
    "oidvector": ["1 2"],
    "int4range": ["[1,5)", "empty"],
    "numrange": ["(1.10,)"],
    "tstzrange": ["[2026-01-01 00:00+01,2026-02-01 00:00+01)"],
    "daterange": ["[2026-01-01,2026-02-01)"],
    "int8multirange": ["{[1,2),[5,6)}"],
    "tsmultirange": ["{[2026-01-01,2026-02-01)}"],
    "int4[]": ["{1,NULL,3}", "{{1,2},{3,4}}", "[5:6]={1,2}"],
    "text[]": ['{"a,b","c\\"d",NULL,""}'],
    "timestamptz[]": ["{2026-02-01 03:04:05+05:30}"],
    "bytea[]": ['{"\\\\x00ff"}'],
    "bool[]": ["{t,f}"],
    "float8[]": ["{0.1,NaN}"],
    "mood": ["glad", 'so "so"'],
    "mood[]": ["{glad}"],
    "small": ["7"],
    "smaller": ["3"],
    "label": ['x"y'],
    "moment": ["2026-02-01 03:04:05+05:30"],
    "flag": ["t"],
    "address": ["10.0.0.1"],
    "spot": ['("a ""b""",2026-02-01 03:04:05+00,"\\\\x00ff",t)', "(,,,)"],
    "spot[]": ['{"(a,,,)"}'],
    "moodrange": ['[glad,"so \\"so\\"")'],
    "tally.uint256": [
        "115792089237316195423570985008687907853269984665640564039457584007913129639935"
    ],
}
OWN_TYPES = """
CREATE TYPE mood AS ENUM ('glad', 'so "so"');
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE DOMAIN smaller AS small;
CREATE DOMAIN label AS text COLLATE "C";
CREATE DOMAIN moment AS timestamptz;
CREATE DOMAIN flag AS bool;
CREATE DOMAIN address AS inet;
CREATE TYPE spot AS (name text, at timestamptz, data bytea, ok bool);
CREATE TYPE moodrange AS RANGE (subtype = mood);
"""
HOSTILE = (
    "SET timezone = 'Asia/Kolkata'; SET datestyle = 'German'; SET intervalstyle = 'iso_8601';"
    " SET bytea_output = 'escape'; SET extra_float_digits = -5; SET search_path = public"
)
PINNED = (
    "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres';"
    " SET bytea_output = 'hex'; SET extra_float_digits = 1; SET lc_monetary = 'C';"
    " SET search_path = pg_catalog"
)


def raw_rows(rig: Rig, table: str) -> list[dict[str, str | None]]:
    """The table's rows as the types' output functions print them, for each column."""
    with psycopg.connect(rig.url, autocommit=True) as connection:
        connection.execute(PINNED)
        cursor = connection.execute(
            sql.SQL("SELECT * FROM public.{}").format(sql.Identifier(table)), binary=False
        )
        result = cursor.pgresult
        assert result is not None
        names = [(result.fname(i) or b"").decode() for i in range(result.nfields)]
        return [
            {name: text_of(result.get_value(n, i)) for i, name in enumerate(names)}
            for n in range(result.ntuples)
        ]


def text_of(value: bytes | None) -> str | None:
    """The text of an output function's bytes."""
    return None if value is None else value.decode()


def expected_change(queued: Queued, row: dict[str, str | None], key: list[str], **more: Any):
    """The change that a queue row of `public.t` stands for; time and transaction are its own."""
    change = queued.change
    parts = [str(row[name]) for name in key] if key else [row_key(row)]
    return Change(
        log="payments", table=change["table"], op=change["op"], via="trigger", key=parts,
        at=change["at"], tx=queued.xid, role="postgres", row=row, **more,
    )  # fmt: skip


@pytest.mark.parametrize("is_null_allowed", [True, False])
def test_every_type(rig: Rig, is_null_allowed: bool):  # noqa: FBT001 -- a parameter of pytest
    """log 7: every core type, domain, enum, array, range, composite has format_record's bytes."""
    rig.sql(OWN_TYPES)
    names = {f"c{n}": type_name for n, type_name in enumerate(TYPES)}
    null = "" if is_null_allowed else " NOT NULL"
    columns = ", ".join(f"{name} {type_name}{null}" for name, type_name in names.items())
    rig.sql(f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    rig.seal("t")
    rig.sql(HOSTILE)
    height = max(map(len, TYPES.values()))
    for n in range(height):
        values = [literals[n % len(literals)] for literals in TYPES.values()]
        marks = ", ".join(["%s"] * len(TYPES))
        rig.sql(f"INSERT INTO t VALUES ({n}, {marks})", values)
    if is_null_allowed:
        rig.sql(f"INSERT INTO t (id) VALUES ({height})")
    rows = raw_rows(rig, "t")
    rig.sql("DELETE FROM t")
    found = rig.queue()
    assert 2 * len(rows) == len(found)
    for queued, row in zip(found, rows + rows, strict=True):
        assert format_record(expected_change(queued, row, ["id"])) == queued.leaf


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40)
NAME = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=12
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_names_and_texts(rig: Rig, data: st.DataObject):
    """log 7: any names, keys, texts and private columns give the bytes of format_record."""
    names = data.draw(
        st.lists(NAME, min_size=1, max_size=5, unique=True).filter(
            lambda found: all(len(name.encode()) <= 63 for name in found)
        )
    )
    table = data.draw(NAME)
    key = data.draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    private = [name for name in names if name not in key and key and data.draw(st.booleans())]
    values = [data.draw(TEXT if name in key else st.none() | TEXT) for name in names]
    actor = data.draw(st.none() | TEXT.filter(bool))
    identifier = sql.Identifier("public", table)
    rig.connection.execute(
        sql.SQL("CREATE TABLE {} ({})").format(
            identifier,
            sql.SQL(", ").join(
                sql.SQL("{} text {}").format(
                    sql.Identifier(name), sql.SQL("NOT NULL" if name in key else "")
                )
                for name in names
            ),
        )
    )
    relation = rig.value("SELECT %s::regclass::oid", (identifier.as_string(rig.connection),))
    try:
        source = rig.seal(f"t{relation}", key=key, private_columns=private, relation=relation)
        with rig.connection.transaction():
            rig.sql("SELECT set_config('tally.actor', %s, true)", (actor or "",))
            rig.connection.execute(
                sql.SQL("INSERT INTO {} VALUES ({})").format(
                    identifier, sql.SQL(", ").join(map(sql.Literal, values))
                )
            )
        (queued,) = rig.queue(source)
        row = dict(zip(names, values, strict=True))
        expected = expected_change(
            queued, row, key, actor=actor, private_columns=frozenset(private), salt=queued.salt
        )
        assert format_record(expected) == queued.leaf
        assert canonical(list(expected.key)).decode() == queued.key
        assert bool(private) == (queued.salt is not None) == (queued.record is not None)
        if private:
            assert queued.record is not None
            plain = expected_change(queued, row, key, actor=actor)
            assert format_record(plain) == queued.record
        rig.sql("DELETE FROM tally.capture")
    finally:
        rig.connection.execute(sql.SQL("DROP TABLE {}").format(identifier))


def test_members_in_the_order_of_utf16(rig: Rig):
    """Columns stand in the order of their names' UTF-16 code units, which is not that of UTF-8."""
    names = ["\ufb33", "\U0001f600", "\ue000", "é", "b", "A", "\uffff"]
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, " + ", ".join(f'"{n}" int' for n in names) + ")")
    rig.seal("t")
    rig.sql("INSERT INTO t VALUES (1)")
    assert sorted([*names, "id"], key=lambda name: name.encode("utf-16-be")) == list(
        rig.queue()[0].row
    )
    value = dict.fromkeys(names, 1)
    assert canonical(value).decode() == rig.value(
        "SELECT tally.canonical(%s::jsonb)", (json.dumps(value),)
    )


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    )
)
def test_canonical(rig: Rig, value: Any):
    """`tally.canonical` writes a jsonb value as the kernel writes it."""
    found = rig.value("SELECT tally.canonical(%s::jsonb)", (json.dumps(value),))
    assert canonical(value).decode() == found


@pytest.mark.parametrize("number", ["1.5", "9007199254740992", "-1e300"])
def test_canonical_refuses_numbers_that_readers_round(rig: Rig, number: str):
    """A number that is no integer below 2^53 is refused."""
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        rig.value("SELECT tally.canonical(%s::jsonb)", (number,))


def make_large(rig: Rig, private: list[str] | None = None) -> None:
    """Make and seal a table of a few columns that may be large."""
    rig.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b bytea, c numeric, d jsonb, e text[],"
        " f text, g text)"
    )
    rig.seal("t", private_columns=private or [])


@pytest.mark.parametrize(
    "values",
    [
        {"a": "x" * 8192},
        {"a": "x" * 8193},
        {"a": "é" * 4097},
        {"b": "\\x" + "00" * 4096},
        {"c": "1e8192"},
        {"c": "1e-8192", "a": '"' * 8192},
        {"d": json.dumps(["y" * 8190])},
        {"e": "{" + ",".join(["z"] * 5000) + "}"},
        {"a": '"' * 8000, "f": "\\" * 8000, "g": "\x01" * 8000},
        {"a": '"' * 8192, "f": "\x01" * 8192, "g": "\x01" * 8192},
        {"a": "x" * 3_000_000},
    ],
    ids=lambda values: ",".join(f"{k}{len(v)}" for k, v in values.items()),
)
def test_large_values(rig: Rig, values: dict[str, str]):
    """Values over 8,192 bytes and rows over 65,535 become digests; the plain record stays."""
    make_large(rig)
    names = ", ".join(values)
    rig.sql(
        f"INSERT INTO t (id, {names}) VALUES (1, {', '.join(['%s'] * len(values))})",
        list(values.values()),
    )
    (queued,) = rig.queue()
    (row,) = raw_rows(rig, "t")
    expected = format_record(expected_change(queued, row, ["id"]))
    assert expected == queued.leaf
    assert ("large" in queued.change) == (queued.record is not None)
    if queued.record is not None:
        assert row == json.loads(queued.record.removeprefix(TAG))["row"]
        assert queued.salt is None


def test_large_and_private(rig: Rig):
    """A private column is a commitment at any length; large ones beside it keep their form."""
    make_large(rig, private=["a", "d"])
    rig.sql("INSERT INTO t (id, a, f) VALUES (1, %s, %s)", ("p" * 10_000, "q" * 10_000))
    (queued,) = rig.queue()
    (row,) = raw_rows(rig, "t")
    private = frozenset(["a", "d"])
    change = expected_change(queued, row, ["id"], private_columns=private, salt=queued.salt)
    assert format_record(change) == queued.leaf
    assert queued.record is not None
    assert row == json.loads(queued.record.removeprefix(TAG))["row"]


def test_record_that_fits_nowhere(rig: Rig):
    """A record that is too long even without its row is queued with its problem."""
    rig.sql("CREATE TABLE t (id text)")
    rig.sql("ALTER TABLE t ALTER COLUMN id SET NOT NULL")
    rig.seal("t")
    rig.sql("INSERT INTO t VALUES (repeat('x', 70000)), ('a')")
    large, small = rig.queue()
    assert (None, "the record does not fit a leaf") == (large.leaf, large.problem)
    assert small.problem is None


def test_audit_sees_what_capture_wrote(rig: Rig):
    """`row_expression` and `key_expression` give the members of a row's last leaf."""
    make_large(rig, private=["g"])
    rig.sql("INSERT INTO t (id, a, f, g) VALUES (7, 'x', %s, 'secret')", ("q" * 10_000,))
    (queued,) = rig.queue()
    rig.sql("SELECT tally.pin_output_formats()")
    expressions = rig.sql(
        "SELECT tally.row_expression(source_no, 's', '$1::bytea'),"
        " tally.key_expression(source_no, 's') FROM tally.verification_sources"
    )[0]
    members, key = rig.sql(
        f"SELECT {expressions[0].replace('$1', '%(salt)s')}, {expressions[1]} FROM t AS s",
        {"salt": queued.salt},
    )[0]
    expected = {name: queued.change[name] for name in ("large", "private", "row")}
    assert canonical(expected).decode() == members
    assert queued.key == key


def test_capture_select_writes_what_the_trigger_writes(rig: Rig):
    """Backfill's SELECT gives the bytes of the trigger, but for via, time and transaction."""
    make_large(rig)
    rig.sql("INSERT INTO t (id, a, c) VALUES (7, 'x', 1.50), (8, %s, NULL)", ("q" * 10_000,))
    written = rig.queue()
    rig.sql("DELETE FROM tally.capture")
    with rig.connection.transaction():
        rig.sql("SELECT tally.pin_output_formats()")
        rig.sql("SET LOCAL search_path = pg_catalog")
        statement = rig.value(
            "SELECT tally.capture_select(source_no, 'I', 'b', 'public.t AS r ORDER BY r.id')"
            " FROM tally.verification_sources"
        )
        rig.sql(
            "INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf,"
            " salt, record, problem, captured_at) " + statement
        )
    found = rig.queue()
    own = {"at", "tx", "via"}
    assert ["b", "b"] == [queued.via for queued in found]
    for before, after in zip(written, found, strict=True):
        assert before.change.keys() == after.change.keys()
        assert "backfill" == after.change["via"]
        kept = before.change.keys() - own
        assert {k: before.change[k] for k in kept} == {k: after.change[k] for k in kept}


def test_control_leaves(rig: Rig):
    """A control leaf is a record with a detail; a log without control leaves gets none."""
    detail = {"origin": "log.example/old", "size": 3, "root": "ab" * 32}
    rig.sql(
        "SELECT tally.queue_control(%s, NULL, 'genesis', %s::jsonb)",
        (rig.log_id, json.dumps(detail)),
    )
    (queued,) = rig.queue()
    change = queued.change
    assert ("C", "c", "[]") == (queued.op, queued.via, queued.key)
    assert (
        format_record(
            Change(
                log="payments",
                table=None,
                op="genesis",
                via="control",
                key=[],
                at=change["at"],
                tx=queued.xid,
                role="postgres",
                detail=detail,
            )
        )
        == queued.leaf
    )
    silent = rig.make_log("hashes", "digest")
    rig.sql(
        "SELECT tally.queue_control(%s, NULL, 'genesis', %s::jsonb)", (silent, json.dumps(detail))
    )
    assert 1 == len(rig.queue())


def test_cast_functions_of_others_are_not_run(rig: Rig):
    """log 7: a cast that the type's owner defines is not run; the output function is."""
    rig.sql(
        "CREATE TYPE pair AS (a int, b int);"
        "CREATE FUNCTION betray(pair) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'run as %', current_user; END $$;"
        "CREATE CAST (pair AS text) WITH FUNCTION betray(pair) AS IMPLICIT;"
        "CREATE FUNCTION betray_json(pair) RETURNS json LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'run as %', current_user; END $$;"
        "CREATE CAST (pair AS json) WITH FUNCTION betray_json(pair) AS IMPLICIT"
    )
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, p pair NOT NULL, q pair)")
    rig.seal("t", private_columns=["q"])
    rig.sql("INSERT INTO t VALUES (1, '(1,2)', '(3,4)')")
    rig.sql("UPDATE t SET p = '(5,6)'")
    assert ["(1,2)", "(5,6)"] == [queued.row["p"] for queued in rig.queue()]


def test_digest_of_the_generated_key(rig: Rig):
    """The key of a table without one is the digest of its row."""
    rig.sql("CREATE TABLE t (a int, b text)")
    rig.seal("t", key=[])
    rig.sql("INSERT INTO t VALUES (1, NULL)")
    digest = hashlib.sha256(b'tallystick/seal-row-key/v1\n{"a":"1","b":null}').hexdigest()
    assert [f'["{digest}"]'] == [queued.key for queued in rig.queue()]
