"""Disclosing what a leaf hides, and checking a disclosure offline (log.md, section 5.3)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tallystick.errors import Kind
from tallystick.publish.errors import (
    LeafNotFoundError,
    NothingHiddenError,
    PrunedError,
    RecordDamagedError,
    RedactedError,
)
from tallystick.record import commit_field, format_disclosure_file, parse_disclosure_file
from tallystick.seal.audit import reconcile_source
from tallystick.seal.errors import InvalidRequestError, LogNotFoundError
from tallystick.verify import (
    DisclosureFormatError,
    FalseDisclosureError,
    OtherLeafDisclosedError,
    check_leaf,
)
from tests.support.privacy import Hidden

if TYPE_CHECKING:
    from pathlib import Path

INSERT = "INSERT INTO person VALUES (1, 'anna@x.example', NULL, 'Bern', NULL)"


@pytest.fixture
def hidden(database_url: str, tmp_path: Path) -> Hidden:
    """A log that hides things, empty but for its genesis."""
    return Hidden(database_url, tmp_path / "keys")


def opened(hidden: Hidden, index: int, *columns: str) -> dict[str, str | None]:
    """What an offline check learns from disclosing *columns* of a leaf."""
    file = format_disclosure_file(hidden.disclose(index, *columns))
    proof, leaf, policy = hidden.proof(index)
    return dict(check_leaf(proof, leaf=leaf, policy=policy, disclosure=file).disclosed)


def changed(file: bytes, **members: object) -> bytes:
    """A disclosure file with other members; those of a column change the first column."""
    value = json.loads(file)
    columns = {"column", "key", "value"}
    value["columns"][:1] = [
        column | {name: members[name] for name in members.keys() & columns}
        for column in value["columns"][:1]
    ]
    value |= {name: members[name] for name in members.keys() - columns}
    return json.dumps(value, indent=1).encode()


def test_a_private_column_opens_alone(hidden):
    """Disclosing one private column opens it offline, and says nothing of the others."""
    index = hidden.sealed(INSERT)
    assert opened(hidden, index, "email") == {"email": "anna@x.example"}
    assert opened(hidden, index, "phone") == {"phone": None}
    assert opened(hidden, index, "email", "phone") == {"email": "anna@x.example", "phone": None}
    file = format_disclosure_file(hidden.disclose(index, "email"))
    [(salt,)] = hidden.rows("SELECT salt FROM tally.leaf_records")
    assert bytes(salt).hex().encode() not in file
    assert b"phone" not in file


def test_large_values_open(hidden):
    """A value too long for a leaf opens by its column, and one for a record as a whole by `*`."""
    large = hidden.sealed("INSERT INTO person VALUES (1, 'e', 'p', 'Bern', repeat('ä', 9000))")
    assert opened(hidden, large, "letter") == {"letter": "ä" * 9000}
    columns = ", ".join(f"c{number} text" for number in range(10))
    values = ", ".join(["repeat('x', 8000)"] * 10)
    hidden.sql(f"CREATE TABLE wide (id int PRIMARY KEY, secret text, {columns})")
    with hidden.bench.database.transaction() as tx:
        from tallystick.seal.sources import add_source

        add_source(tx, "payments", "wide", private=("secret",))
    whole = hidden.sealed(f"INSERT INTO wide VALUES (1, 'hush', {values})")
    [text] = opened(hidden, whole, "*").values()
    assert text is not None
    assert "x" * 8000 in text
    assert "hush" not in text
    assert opened(hidden, whole, "secret") == {"secret": "hush"}
    hidden.sql("ALTER TABLE wide DISABLE TRIGGER USER; DELETE FROM wide")
    reconcile_source(hidden.bench.database, "payments", "wide", repair=True)
    deleted = hidden.bench.seal_all() - 1
    assert opened(hidden, deleted, "*") == {"*": text}


def test_a_salted_leaf_opens_as_a_whole(hidden):
    """A salted leaf opens to its record with its salt, and not by columns."""
    index = hidden.sealed("INSERT INTO patient VALUES (1, 'Anna', 'well')")
    file = format_disclosure_file(hidden.disclose(index))
    proof, leaf, policy = hidden.proof(index)
    record = check_leaf(proof, leaf=leaf, policy=policy, disclosure=file).record
    assert record is not None
    assert record.row == {"id": "1", "name": "Anna", "note": "well"}
    assert hidden.disclose(index, "*") == hidden.disclose(index)
    with pytest.raises(NothingHiddenError):
        hidden.disclose(index, "name")


def test_what_hides_nothing_is_named(hidden):
    """Clear columns, unknown ones, control leaves and pushed ones are refused by name."""
    index = hidden.sealed(INSERT)
    with pytest.raises(NothingHiddenError, match="does not hide city, nothing; it hides email"):
        hidden.disclose(index, "city", "nothing")
    with pytest.raises(NothingHiddenError):
        hidden.disclose(0, "email")
    hidden.bench.push(b"pushed")
    with pytest.raises(NothingHiddenError):
        hidden.disclose(hidden.bench.seal_all() - 1)
    for columns in ((), ("email", "email")):
        with pytest.raises(InvalidRequestError):
            hidden.disclose(index, *columns)


def test_unknown_leaves_are_named(hidden):
    """A log, a leaf that is not published, and a pruned one have an error each."""
    index = hidden.sealed(INSERT)
    with pytest.raises(LeafNotFoundError):
        hidden.disclose(index + 1, "email")
    with pytest.raises(InvalidRequestError):
        hidden.disclose(-1, "email")
    hidden.sql("UPDATE tally.verification_logs SET witness_quorum = 1 WHERE log_name = 'payments'")
    with pytest.raises(LeafNotFoundError):
        hidden.disclose(index, "email")
    hidden.sql(f"UPDATE tally.verification_logs SET minimum_index = {index + 1}")
    with pytest.raises(PrunedError):
        hidden.disclose(index, "email")
    with pytest.raises(LogNotFoundError), hidden.bench.database.transaction() as tx:
        from tallystick.publish.disclosures import disclose

        disclose(tx, "nowhere", 0, ())


def test_a_damaged_record_is_not_handed_out(hidden):
    """What does not open its leaf is never disclosed: the record is damaged, or gone unerased."""
    index = hidden.sealed(INSERT)
    hidden.sql(
        "ALTER TABLE tally.leaf_records DISABLE TRIGGER USER;"
        "UPDATE tally.leaf_records SET salt = sha256('other')"
    )
    with pytest.raises(RecordDamagedError):
        hidden.disclose(index, "email")
    hidden.sql("UPDATE tally.leaf_records SET record = 'x'")
    with pytest.raises(RecordDamagedError):
        hidden.disclose(index, "email")
    hidden.sql("DELETE FROM tally.leaf_records")
    with pytest.raises(RecordDamagedError):
        hidden.disclose(index, "email")


def test_what_was_erased_is_gone(hidden):
    """log 28: a redacted leaf's disclosure raises RedactedError, of kind gone."""
    index = hidden.sealed(INSERT)
    salted = hidden.sealed("INSERT INTO patient VALUES (1, 'Anna', 'well')")
    hidden.redact(index, salted)
    for leaf, columns in ((index, ("email",)), (salted, ())):
        with pytest.raises(RedactedError):
            hidden.disclose(leaf, *columns)
    assert RedactedError.kind is Kind.GONE


@pytest.mark.parametrize(
    ("members", "error", "words"),
    [
        ({"column": "city"}, FalseDisclosureError, "no such private column: city"),
        ({"column": "phone"}, FalseDisclosureError, "commitment: phone"),
        ({"value": "bob@x.example"}, FalseDisclosureError, "commitment: email"),
        ({"value": None}, FalseDisclosureError, "commitment: email"),
        ({"value": ""}, FalseDisclosureError, "commitment: email"),
        ({"key": "00" * 32}, FalseDisclosureError, "commitment: email"),
        ({"key": None}, FalseDisclosureError, "no such large column: email"),
        ({"index": 0}, OtherLeafDisclosedError, "leaf 0 of log.example/payments"),
        ({"origin": "log.example/x"}, OtherLeafDisclosedError, "of log.example/x"),
        ({"leaf_hash": "00" * 32}, OtherLeafDisclosedError, "another hash"),
        ({"format": "x"}, DisclosureFormatError, "not of the format"),
        ({"extra": 1}, DisclosureFormatError, "does not know"),
        ({"salt": "00" * 32}, DisclosureFormatError, "come together"),
    ],
)
def test_every_false_disclosure_is_named(hidden, members, error, words):
    """A wrong column, value or key, NULL against a value, another leaf: each is refused by name."""
    index = hidden.sealed(INSERT)
    file = format_disclosure_file(hidden.disclose(index, "email"))
    proof, leaf, policy = hidden.proof(index)
    check_leaf(proof, leaf=leaf, policy=policy, disclosure=changed(file))
    with pytest.raises(error, match=words) as raised:
        check_leaf(proof, leaf=leaf, policy=policy, disclosure=changed(file, **members))
    assert raised.value.step_name == "disclosure"


def test_null_is_not_opened_by_a_value(hidden):
    """A committed NULL opens to nothing but NULL, not to the empty text either."""
    index = hidden.sealed(INSERT)
    file = format_disclosure_file(hidden.disclose(index, "phone"))
    proof, leaf, policy = hidden.proof(index)
    for value in ("", "null"):
        with pytest.raises(FalseDisclosureError):
            check_leaf(proof, leaf=leaf, policy=policy, disclosure=changed(file, value=value))
    [column] = parse_disclosure_file(file).bundle.columns
    assert column.key is not None
    assert commit_field(column.key, None) != commit_field(column.key, "")


def test_a_files_noise_is_a_format_error(hidden):
    """Bytes that are no JSON, doubled members and half a file are of no format."""
    index = hidden.sealed(INSERT)
    file = format_disclosure_file(hidden.disclose(index, "email"))
    proof, leaf, policy = hidden.proof(index)
    for data in (b"", b"\xff", file[:-5], b"[" * 10_000, b'{"a":1,"a":2}', b"[]", b"1" * 5000):
        with pytest.raises(DisclosureFormatError):
            check_leaf(proof, leaf=leaf, policy=policy, disclosure=data)
