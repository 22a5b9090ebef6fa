"""A database owner who is no superuser can carry the schema (log.md, section 2.7)."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from tallystick.db import migrate
from tallystick.db.migrate import load_migrations
from tests.support.server import running_server


@pytest.fixture
def owner_url(postgres_bin):
    """The URL of a database whose owner may create roles and nothing more, on its own server."""
    with running_server(postgres_bin) as server:
        with psycopg.connect(server.server.url(), autocommit=True) as connection:
            connection.execute("CREATE ROLE shopkeeper LOGIN CREATEROLE PASSWORD 'counter'")
            connection.execute(sql.SQL("CREATE DATABASE shop OWNER shopkeeper"))
        superuser = psycopg.conninfo.conninfo_to_dict(server.server.url("shop"))
        yield psycopg.conninfo.make_conninfo(
            **{**superuser, "user": "shopkeeper", "password": "counter"}
        )


def test_owner_with_createrole_migrates(owner_url):
    """A role with CREATEROLE that owns its database migrates it; the schema is tally_owner's."""
    assert len(migrate(owner_url)) == len(load_migrations())
    assert migrate(owner_url) == []
    with psycopg.connect(owner_url, autocommit=True) as connection:
        owners = connection.execute(
            "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class"
            " WHERE relnamespace = 'tally'::regnamespace AND relkind = 'r'"
        ).fetchall()
        # What is left of the membership is at most the right to grant it again.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET ROLE tally_owner")
    assert owners == [("tally_owner",)]
