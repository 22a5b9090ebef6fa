"""Where a look at the queue's index starts (log.md, section 5.6)."""

from tallystick.seal.sequencer.floor import (
    BELOW_EVERY_SEQ,
    FULL_LOOK_SECONDS,
    Floor,
    Seq,
    TransactionId,
)


def test_rises_when_all_drawers_have_ended():
    """The floor rises to what was drawn once every earlier transaction has ended."""
    floor = Floor(seq=Seq(5), full_look_at=100.0)
    floor.took(drawn=Seq(40), own=TransactionId(900))
    floor.rise(xmin=TransactionId(900))
    assert floor.seq == 40


def test_stays_while_an_earlier_transaction_runs():
    """The floor stays while a transaction that may have drawn a lower seq is open."""
    floor = Floor(seq=Seq(5), full_look_at=100.0)
    floor.took(drawn=Seq(40), own=TransactionId(900))
    floor.rise(xmin=TransactionId(899))
    assert floor.seq == 5


def test_never_passes_what_a_full_batch_left():
    """After a full batch the floor passes no row that the batch did not take (law 4)."""
    floor = Floor(seq=Seq(5), full_look_at=100.0)
    floor.took(drawn=Seq(40), own=TransactionId(900))
    floor.rise(xmin=TransactionId(950), at_most=Seq(20))
    assert floor.seq == 20


def test_never_falls():
    """A proof that is older than the floor does not lower it."""
    floor = Floor(seq=Seq(50), full_look_at=100.0)
    floor.took(drawn=Seq(40), own=TransactionId(900))
    floor.rise(xmin=TransactionId(950))
    assert floor.seq == 50


def test_starts_below_everything_once_an_hour():
    """The first look, and one an hour, start below every seq."""
    floor = Floor()
    assert floor.start(now=10.0) == BELOW_EVERY_SEQ
    floor.seq = Seq(70)
    assert floor.start(now=11.0) == 70
    assert floor.start(now=10.0 + FULL_LOOK_SECONDS) == BELOW_EVERY_SEQ


def test_pending_proofs_are_bounded():
    """However long a transaction stays open, the proofs that wait for it stay few."""
    floor = Floor(full_look_at=100.0)
    for number in range(1000):
        floor.took(drawn=Seq(number), own=TransactionId(number))
    assert len(floor.pending) <= 64
    floor.rise(xmin=TransactionId(5000))
    assert floor.seq == 999


def test_starts_again_in_another_place():
    """A floor of one database says nothing of another: there the look starts below every seq."""
    floor = Floor()
    assert floor.stands_in("this server")
    assert floor.stands_in("this server")
    floor.seq = Seq(70)
    floor.took(drawn=Seq(80), own=TransactionId(900))
    assert not floor.stands_in("another server")
    assert (floor.seq, floor.pending) == (BELOW_EVERY_SEQ, [])
    assert floor.stands_in("another server")
