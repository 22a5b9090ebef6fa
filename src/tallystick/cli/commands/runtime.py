"""`tally up`, `init`, `migrate`, `serve`, `worker`, `psql`: the processes."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Annotated

import psycopg
from cyclopts import Parameter
from psycopg.pq import Conninfo

from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json, print_lines, show
from tallystick.cli.place import HERE, Place
from tallystick.config import Settings, load_settings
from tallystick.db import migrate as migrate_database
from tallystick.runtime.binaries import find_binaries
from tallystick.runtime.children import stop_with_parent
from tallystick.runtime.errors import BinariesNotFoundError
from tallystick.runtime.house import initialise
from tallystick.runtime.logging import configure_logging
from tallystick.runtime.place import database_url
from tallystick.runtime.signals import stop_on_signals

Host = Annotated[str | None, Parameter(help="Address to listen on.")]
Port = Annotated[int | None, Parameter(help="Port to listen on.")]
Supervised = Annotated[bool, Parameter(negative="", show=False)]


def up(*, host: Host = None, port: Port = None, place: Place = HERE) -> None:
    """Run PostgreSQL, worker and HTTP as one process tree, until Ctrl-C."""
    from tallystick.runtime.supervisor import Running, Supervisor  # noqa: PLC0415 (its own start)

    settings = settings_with(place, host, port)
    configure_logging(settings.log_level)

    def tell(running: Running) -> None:
        if place.json:
            print_json(running)
        else:
            psql = running.database_file and f'psql "$(cat {running.database_file})"'
            lines = [
                "Tallystick is up.",
                f"  explorer   {running.url}/",
                f"  data       {running.data_dir}",
                f"  log keys   {running.key_dir}",
                f"  API key    {running.operator_key}",
                f"  database   {psql or 'as TALLY_DATABASE_URL says'}",
                *([f"  dev chain  {running.dev_chain}"] if running.dev_chain else []),
                "Ctrl-C ends it.",
            ]
            print_lines(*lines)
        # Whoever reads through a pipe waits for just this.
        sys.stdout.flush()

    Supervisor(settings).run(tell)


def init(
    *,
    test: Annotated[
        bool, Parameter(negative="", help="Give it a clock that tests can set; never undone.")
    ] = False,
    log_of_logs: Annotated[
        bool, Parameter(negative="", help="Also make tally_heads: it takes every log's heads.")
    ] = False,
    place: Place = HERE,
) -> None:
    """Migrate a database, make the house logs with their sources, and the operator's key."""
    settings = place.settings()
    made = initialise(settings, database_url(settings), test=test, log_of_logs=log_of_logs)
    show(made, as_json=place.json)


def migrate(*, place: Place = HERE) -> None:
    """Apply the migrations that are missing; a second migrator waits for the first."""
    applied = [migration.name for migration in migrate_database(database_url(place.settings()))]
    if place.json:
        print_json({"applied": applied})
    else:
        print_lines(*(f"applied {name}" for name in applied))
        print_lines("the schema is current")


def serve(
    *, host: Host = None, port: Port = None, supervised: Supervised = False, place: Place = HERE
) -> None:
    """Serve HTTP and the pages; it needs no key."""
    settings = settings_with(place, host, port)
    configure_logging(settings.log_level)
    from tallystick.runtime.serve import serve as run_server  # noqa: PLC0415 (it takes its time)

    if supervised:
        stop_with_parent()
    run_server(settings)


def worker(*, supervised: Supervised = False, place: Place = HERE) -> None:
    """Seal, check sources and deliver events; it needs no port."""
    from tallystick.runtime.worker import run_worker  # noqa: PLC0415 (as above)

    settings = place.settings()
    stop = threading.Event()
    stop_on_signals(stop)
    if supervised:
        stop_with_parent()
    run_worker(settings, stop)


def psql(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True, help="What psql is given.")],
    place: Place = HERE,
) -> None:
    """Open the database with the psql of the server's programs, or the one in PATH."""
    variables = connection_variables(database_url(place.settings()))
    program = psql_program()
    # The password travels in the environment, where other users cannot read it.
    os.execve(program, [str(program), *arguments], {**os.environ, **variables})  # noqa: S606


def connection_variables(url: str) -> dict[str, str]:
    """
    Return the environment that leads libpq's programs to *url*.

    Raises:
        UsageError: It is no connection string.
    """
    try:
        options = Conninfo.parse(url.encode())
    except psycopg.OperationalError as error:
        raise UsageError(f"the database's URL: {error}") from error
    return {
        option.envvar.decode(): option.val.decode()
        for option in options
        if option.envvar is not None and option.val is not None
    }


def psql_program() -> Path:
    """
    Return where psql is.

    Raises:
        BinariesNotFoundError: Nowhere.
    """
    beside = find_binaries() / "psql"
    if beside.is_file():
        return beside
    in_path = shutil.which("psql")
    if in_path is None:
        raise BinariesNotFoundError("there is no psql here")
    return Path(in_path)


def settings_with(place: Place, host: str | None, port: int | None) -> Settings:
    """Return the settings, with the options of the command over them."""
    return load_settings(
        data_dir=place.data,
        database_url=place.database_url,
        key_dir=place.key_dir,
        host=host,
        port=port,
    )
