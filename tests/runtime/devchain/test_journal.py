"""The journal of the dev chain: what is acknowledged survives, what is torn is cut."""

from __future__ import annotations

import pytest

from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.runtime.devchain import journal
from tallystick.runtime.devchain.errors import (
    DevChainBusyError,
    JournalDamagedError,
    OtherNetworkError,
)
from tallystick.runtime.devchain.journal import (
    JOURNAL_FILE,
    BlockEntry,
    Genesis,
    WaitingEntry,
    open_journal,
    set_aside,
)

GENESIS = Genesis(DEV_CHAIN_ID, 1_700_000_000, {"0x" + "11" * 20: 2**200})
BLOCK = BlockEntry(1, 1_700_000_001, [b"\x02\xf8", b""], "0x" + "22" * 32)
WAITING = WaitingEntry(b"\x02\xff")


def opened(directory, genesis=GENESIS):
    """The journal of *directory*."""
    return open_journal(directory, chain_id=DEV_CHAIN_ID, genesis=lambda: genesis)


def filled(directory):
    """The path of a closed journal with a block and a waiting transaction."""
    journal = opened(directory)
    for entry in (BLOCK, WAITING):
        journal.append(entry)
    journal.close()
    return directory / JOURNAL_FILE


def test_entries_come_back_as_they_were_written(tmp_path):
    """Genesis, blocks and waiting transactions are read as they were written, exactly."""
    filled(tmp_path)
    again = opened(tmp_path, genesis=None)
    assert (GENESIS, [BLOCK, WAITING], 0) == (again.genesis, again.entries, again.torn)
    again.close()


@pytest.mark.parametrize("left", [1, 10, -1])
def test_a_torn_last_line_is_cut_and_named(tmp_path, left):
    """A last line that does not end is cut, its number is told, and the rest stands."""
    path = filled(tmp_path)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[:start] + whole[start:][:left])
    again = opened(tmp_path)
    assert ([BLOCK], 3) == (again.entries, again.torn)
    again.append(WAITING)
    again.close()
    assert whole == path.read_bytes()


def test_a_torn_genesis_is_written_anew(tmp_path):
    """A crash at the very first line leaves a chain that has not begun."""
    (tmp_path / JOURNAL_FILE).write_bytes(b'{"genesis":{"chain_')
    again = opened(tmp_path)
    assert (GENESIS, [], 1) == (again.genesis, again.entries, again.torn)
    again.close()
    assert 1 == (tmp_path / JOURNAL_FILE).read_bytes().count(b"\n")


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"{}", 2),
        (b"nothing", 2),
        (b'{"block":1,"time":1,"transactions":["0xzz"],"hash":""}', 2),
        (b"[]", 2),
        (b"null", 2),
        (b"\xff\xfe", 2),
    ],
)
def test_a_damaged_line_is_refused_by_its_number(tmp_path, line, number):
    """A whole line that we did not write is no crash's doing: nothing is cut, it is named."""
    path = filled(tmp_path)
    first, rest = path.read_bytes().split(b"\n", 1)
    damaged = first + b"\n" + line + b"\n" + rest
    path.write_bytes(damaged)
    with pytest.raises(JournalDamagedError, match=f"line {number} ") as raised:
        opened(tmp_path)
    assert (number, damaged) == (raised.value.line, path.read_bytes())


@pytest.mark.parametrize("line", [b"{}", b'{"genesis":[]}', b'{"genesis":{"chain_id":1}}', b"1"])
def test_a_damaged_genesis_is_refused(tmp_path, line):
    """Without its first line a journal is not read."""
    (tmp_path / JOURNAL_FILE).write_bytes(line + b"\n")
    with pytest.raises(JournalDamagedError, match="line 1 "):
        opened(tmp_path)


def test_the_journal_of_another_chain_is_refused(tmp_path):
    """A journal says which chain it is of, and serves no other."""
    opened(tmp_path, Genesis(DEV_CHAIN_ID, 1, {})).close()
    with pytest.raises(OtherNetworkError) as refused:
        open_journal(tmp_path, chain_id=31337, genesis=lambda: GENESIS)
    assert (31337, DEV_CHAIN_ID) == (refused.value.expected, refused.value.actual)


def test_a_journal_that_is_put_aside_meanwhile_is_not_opened(tmp_path, monkeypatch):
    """Whoever opened the file before another process put it aside writes to none of the two."""
    filled(tmp_path)

    def lock_too_late(handle, path):
        monkeypatch.undo()
        set_aside(tmp_path)
        journal.lock(handle, path)

    monkeypatch.setattr(journal, "lock", lock_too_late)
    with pytest.raises(DevChainBusyError, match="put aside"):
        opened(tmp_path)
    again = opened(tmp_path)
    assert [] == again.entries
    again.close()


def test_one_process_keeps_a_journal(tmp_path):
    """Two that write one journal would tear it: the second is refused, by any way."""
    journal = opened(tmp_path)
    with pytest.raises(DevChainBusyError):
        opened(tmp_path)
    with pytest.raises(DevChainBusyError):
        set_aside(tmp_path)
    journal.close()
    opened(tmp_path).close()


def test_reset_keeps_what_was(tmp_path):
    """A journal that is put aside is renamed, never deleted, however often."""
    kept = [filled(tmp_path).read_bytes() and set_aside(tmp_path) for _ in range(2)]
    assert ["journal.1.jsonl", "journal.2.jsonl"] == [path.name for path in kept]
    assert set_aside(tmp_path) is None
    journal = opened(tmp_path)
    assert [] == journal.entries
    journal.close()


def test_nobody_else_reads_the_journal(tmp_path):
    """The journal and its directory are their owner's."""
    path = filled(tmp_path / "chain")
    assert (0o600, 0o700) == (
        path.stat().st_mode & 0o777,
        path.parent.stat().st_mode & 0o777,
    )
