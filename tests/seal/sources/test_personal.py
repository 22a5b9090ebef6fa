"""The warning of who adds a source: what stands in clear for ever, and what looks personal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.seal.sources.personal import looks_personal
from tallystick.seal.sources.table import Column

if TYPE_CHECKING:
    from tests.seal.sources.rig import Rig

PERSON = """
CREATE DOMAIN email_address AS text;
CREATE TABLE person (
  id bigint PRIMARY KEY, first_name text, contact email_address, city text, last_seen_from inet,
  amount numeric
)
"""


def column(name: str, type_name: str = "text") -> Column:
    """A column of this name and type."""
    return Column(
        name, type_name, is_bytea=False, is_not_null=False, is_virtual=False, base_type="text"
    )


@pytest.mark.parametrize(
    ("name", "type_name"),
    [
        *((name, "text") for name in ("email", "e_mail", "EMail2", "homeAddress", "user_agent")),
        *((name, "text") for name in ("first_name", "date_of_birth", "SSN", "iban", "phone1")),
        ("seen", "inet"),
        ("seen", "cidr[]"),
        ("x", "hr.email_address"),
    ],
)
def test_names_and_types_that_look_personal(name: str, type_name: str) -> None:
    """Words in a column's name or type, however they are joined, give personal data away."""
    assert looks_personal(column(name, type_name))


@pytest.mark.parametrize("name", ["id", "amount", "created_at", "description", "quantity", "total"])
def test_other_names_do_not(name: str) -> None:
    """A word inside of another word is none: `description` holds no `ip`."""
    assert not looks_personal(column(name))


def test_personal_columns_in_clear_are_named(rig: Rig) -> None:
    """Adding a source names every column that stays for ever, and those that look personal."""
    rig.sql(PERSON)
    source = rig.add("person", dry_run=True)
    assert source.clear_columns == [
        "id",
        "first_name",
        "contact",
        "city",
        "last_seen_from",
        "amount",
    ]
    assert source.personal_columns == ["first_name", "contact", "last_seen_from"]
    assert source.note is not None
    assert "PERSONAL DATA? first_name, contact, last_seen_from look like it" in source.note
    assert "--private first_name,contact,last_seen_from" in source.note
    hidden = rig.add("person", private=["first_name", "contact", "last_seen_from"])
    assert (hidden.clear_columns, hidden.personal_columns) == (["id", "city", "amount"], [])
    assert "PERSONAL" not in str(hidden.note)


def test_keys_stand_in_clear_in_every_form(rig: Rig) -> None:
    """A digest hides its row but not its key, nor the hash of a row that is its own key."""
    rig.sql("CREATE TABLE subscriber (email text PRIMARY KEY, city text)")
    source = rig.add("subscriber", log="hashes")
    assert (source.clear_columns, source.personal_columns) == (["email"], ["email"])
    assert source.note == (
        "PERSONAL DATA? email look like it;"
        " a key stands in clear in every form: consider another key"
    )
    rig.sql("CREATE TABLE visit (email text)")
    unkeyed = rig.add("visit", log="hashes", key_full_row=True)
    assert unkeyed.note == (
        "the hash of each row is its key, and stands beside the digest for ever"
    )
