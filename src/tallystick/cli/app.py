"""
The tree of commands; each is loaded when it is called.

`dispatch` parses, runs, and lets errors through: `cli.run` tells them and chooses the exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cyclopts import App
from cyclopts.exceptions import CycloptsError, UnknownCommandError

from tallystick import __version__
from tallystick.cli.errors import UsageError

COMMANDS: Final = (
    ("up", "runtime:up", "Run everything: embedded PostgreSQL, worker, HTTP. One Ctrl-C ends it."),
    ("demo", "demo:demo", "A shop sealed, falsified, audited and proven, within a minute."),
    ("init", "runtime:init", "Migrate a database, make the house logs and the operator's key."),
    ("migrate", "runtime:migrate", "Bring a database to this program's schema."),
    ("serve", "runtime:serve", "Serve HTTP and the pages."),
    ("worker", "runtime:worker", "Seal, check sources, deliver events."),
    ("psql", "runtime:psql", "Open the database with psql."),
    ("status", "status:status", "Sizes, lag and last checkpoint of every log."),
    ("doctor", "status:doctor", "Look for what must be mended."),
    ("prove", "prove:prove", "Write the proof that a row's change stands in a log."),
    ("verify", "verify:verify", "Check a proof offline."),
    ("rows", "rows:rows", "The versions of a row, as the log holds them."),
    ("disclose", "privacy:disclose", "Write what opens columns that a leaf hides."),
    ("redact", "privacy:redact", "Erase what leaves hide; their proofs stay valid."),
    ("monitor", "monitor:monitor", "Keep asking a log for consistency; alarm on a fork."),
    ("audit", "audits:audit", "Hash everything anew, and compare every row with the log."),
    ("reconcile", "audits:reconcile", "Compare a table with its log, and queue what differs."),
    ("export", "exports:export", "Write a log as files that any web server can serve."),
    ("check-export", "exports:check", "Check an export: every entry, every tile, the signatures."),
    ("prune", "exports:prune", "Delete a log's old entries, which a checked export holds."),
)
GROUPS: Final = (
    (
        "log",
        "Logs: what is sealed together, under one key.",
        (
            ("create", "logs:create", "Make a log."),
            ("list", "logs:list_all", "List the logs."),
            ("show", "logs:show_one", "Show one log."),
            ("set", "logs:configure", "Change what may change of a log."),
            ("pause", "logs:pause", "Stop sealing a log; capture and reading go on."),
            ("resume", "logs:resume", "Seal a paused log again."),
            ("freeze", "logs:freeze", "End a log: once its queue is empty, nothing follows."),
            ("succeed", "lifecycle:succeed", "Continue a log in a new one, with its tables."),
            ("shard", "lifecycle:shard", "Continue a log at each turn of a period."),
            ("shards", "lifecycle:list_shards", "List the families of logs that turn."),
            ("recover", "logs:recover", "Take a failed log back to work after a clean audit."),
            ("import", "logs:import_earlier", "Take over an earlier log service's leaves."),
            ("policy", "witness:policy", "Write whom to trust: the log's keys and witnesses."),
            ("index", "indexes:index", "Seal the map of a log's keys, now or at an interval."),
        ),
    ),
    (
        "source",
        "Sources: which tables feed which log.",
        (
            ("add", "sources:add", "Seal a table's changes in a log, from now on."),
            ("list", "sources:list_all", "List the sources."),
            ("show", "sources:show_one", "Show one source."),
            ("check", "sources:check", "Validate sources now."),
            ("refresh", "sources:refresh", "Write a source's functions anew after DDL."),
            ("move", "lifecycle:move", "Let a table feed another log from now on."),
            ("detach", "sources:detach", "End a source; its leaves stay."),
            ("requeue", "sources:requeue_rows", "Queue the present state of quarantined rows."),
        ),
    ),
    (
        "key",
        "Keys: who signs.",
        (
            ("list", "keys:list_all", "List a log's public keys."),
            ("create", "lifecycle:create", "Make another key for a log."),
            ("activate", "lifecycle:activate", "Let a key sign from the next checkpoint on."),
            ("retire", "lifecycle:retire", "Let a key sign no more."),
        ),
    ),
    (
        "witness",
        "Witnesses: who cosigns our logs, and our own witness.",
        (
            ("add", "witness:add", "Let a log ask a witness."),
            ("list", "witness:list_all", "List a log's witnesses and how far they have come."),
            ("remove", "witness:remove", "Ask a witness no more."),
            ("clear", "witness:clear", "End a witness's conflict after a clean audit."),
            ("key", "witness:key", "Our own witness's verifier key."),
            ("watch", "witness:watch", "Let our own witness watch a log."),
        ),
    ),
    (
        "user",
        "Users, their risk and their blacklist.",
        (
            ("add", "users:add", "Make a user."),
            ("show", "users:show_one", "Show a user."),
            ("list", "users:list_all", "List users by risk, by tag, or the blacklisted."),
            ("blacklist", "users:blacklist", "Admit none of a user's keys any more."),
            ("unblacklist", "users:unblacklist", "Take a user off the blacklist."),
            ("risk", "users:risk", "Show how a user's risk came about, or set it."),
            ("delete", "users:delete", "Delete a user, and revoke his keys."),
            ("erase", "users:erase", "Take out of rows and leaves what names a deleted user."),
        ),
    ),
    (
        "human",
        "Human proofs: what users show of their wallets.",
        (
            ("challenge", "humans:challenge", "Issue what a user's wallet is to sign."),
            ("submit", "humans:submit", "Check a signature, and keep the proof."),
            ("status", "humans:status", "Whether a wallet has a proof that counts now."),
        ),
    ),
    (
        "apikey",
        "API keys of users. (`tally key` is for the keys that sign logs.)",
        (
            ("create", "apikeys:create", "Make a key; its secret is written once."),
            ("list", "apikeys:list_all", "List a user's keys."),
            ("show", "apikeys:show_one", "Show a key."),
            ("rotate", "apikeys:rotate", "Make a key's successor."),
            ("revoke", "apikeys:revoke", "Revoke a key, at once and for good."),
            ("usage", "apikeys:usage", "A key's requests by day, and what is left today."),
            ("scopes", "apikeys:scopes", "List the scopes that a key may have."),
        ),
    ),
    (
        "chain",
        "EVM networks, what is sent on them, and our contracts there.",
        (
            ("networks", "chain:networks", "List the networks and how far each was read."),
            ("add", "chain:add", "Add a network, paused."),
            ("pause", "chain:pause", "Sign nothing more on a network."),
            ("resume", "chain:resume", "Let a paused or halted network go on."),
            ("accounts", "chain:accounts", "List our accounts and their signers."),
            ("account", "chain:account", "Add an account, or change one."),
            ("contracts", "chain:contracts", "List our contracts."),
            ("transactions", "chain_transactions:list_all", "List transactions, newest first."),
            ("show", "chain_transactions:show_one", "Show a transaction and its signings."),
            ("cancel", "chain_transactions:cancel", "Cancel a transaction, if it still can be."),
            ("bump", "chain_transactions:bump", "Offer more for a signed transaction."),
            ("price", "chain:price", "Record what a coin costs in USD."),
            ("reconcile", "chain_transactions:reconcile", "After a restore: ask the chain."),
            ("dev", "chain_dev:dev", "Run the dev chain in the foreground."),
            ("deploy", "chain:deploy_one", "Queue the deployment of a contract."),
            ("check", "chain:check", "Compare contracts with their sources and chains."),
        ),
    ),
    (
        "outbox",
        "Events and the sinks that get them.",
        (
            ("list", "outbox:list_all", "List the sinks."),
            ("add", "outbox:add", "Add a sink."),
            ("pause", "outbox:pause", "Stop deliveries to a sink."),
            ("resume", "outbox:resume", "Let a sink go on where it stopped."),
            ("skip", "outbox:skip", "Pass over the event that a sink would get next."),
        ),
    ),
)
COMMAND_PACKAGE: Final = "tallystick.cli.commands"


def dispatch(arguments: Sequence[str]) -> None:
    """
    Parse *arguments* and run the command that they name.

    Raises:
        UsageError: There is no such command or option, or a value does not parse.
        Error: Whatever the command refuses.
    """
    app = make_app()
    try:
        app(
            list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_none",
        )
    except UnknownCommandError as error:
        # Its own words would load every command, to look for one that is spelled like it.
        unknown = (error.unused_tokens or ["?"])[0]
        raise UsageError(f"there is no command {unknown!r} (see --help)") from error
    except CycloptsError as error:
        raise UsageError(f"{' '.join(str(error).split())} (see --help)") from error


def make_app() -> App:
    """Return the whole tree; no command's module is imported by it."""
    app = App(
        name="tally",
        help="Tallystick turns PostgreSQL rows into evidence.",
        version=__version__,
        help_format="plaintext",
        version_flags=["--version"],
        suppress_keyboard_interrupt=False,
    )
    add_commands(app, COMMANDS)
    for name, words, commands in GROUPS:
        group = App(name=name, help=words, help_format="plaintext", version_flags=[])
        add_commands(group, commands)
        app.command(group)
    return app


def add_commands(app: App, commands: Sequence[tuple[str, str, str]]) -> None:
    """Add *commands* (name, where its function is, its help) to *app*."""
    for name, place, words in commands:
        app.command(f"{COMMAND_PACKAGE}.{place}", name=name, help=words, version_flags=[])
