"""
The process that `startup` measures: `python -m benchmarks.log.startup_process KEYS LOG`.

The database's URL comes by standard input.
It proves the first leaf in the published tree and checks the proof, then seals what waits, and
prints what that took as JSON. Statements are counted where psycopg runs them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tallystick.db import connect
from tallystick.publish import Publisher
from tallystick.seal.logs import KeyRing, get_log
from tallystick.seal.sequencer import Sequencer
from tallystick.tlog import LeafIndex, check_inclusion


def main(url: str, key_directory: str, log_name: str) -> None:
    """Answer once as a reader and once as a sequencer, and print the figures."""
    with connect(url) as database:
        publisher = Publisher(database)
        publisher.refresh()
        head = publisher.published_head(log_name)
        proof = publisher.prove_index(head, LeafIndex(0))
        check_inclusion(
            proof.hashes, leaf=proof.leaf_hash, index=proof.index, size=head.size, root=head.root
        )
        with database.transaction() as tx:
            log = get_log(tx, log_name)
        with counted_statements() as count:
            sealed = Sequencer(database, KeyRing(Path(key_directory))).seal_once(log.log_id)
        answered_at = time.monotonic()
        assert sealed is not None, "no other sequencer has the log"
        assert sealed.rows == 1, "what waited is sealed"
    print(
        json.dumps(
            {
                "answered_at": answered_at,
                "statements": count[0],
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


@contextmanager
def counted_statements() -> Iterator[list[int]]:
    """Yield a list whose one number is how many statements were run."""
    execute, count = psycopg.Cursor.execute, [0]

    def counting(self: psycopg.Cursor[Any], *arguments: Any, **options: Any) -> Any:
        count[0] += 1
        return execute(self, *arguments, **options)

    psycopg.Cursor.execute = counting  # type: ignore[method-assign]
    try:
        yield count
    finally:
        psycopg.Cursor.execute = execute  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.stdin.read(), *sys.argv[1:])
