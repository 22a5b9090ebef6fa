"""Messages: their tags, the webhook's event and the disclosure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.record import (
    Disclosure,
    DisclosureBundle,
    FalseSignatureError,
    MalformedMessageError,
    OutboxEvent,
    check_outbox_event,
    ed25519_verifier,
    format_disclosure,
    format_outbox_event,
    make_signer,
    message_hash,
    parse_disclosure,
    parse_outbox_event,
    sign_outbox_event,
    tagged,
)
from tallystick.record.tags import TAGS
from tests.support.sealed import OUTBOX_SECRET, SALT

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "record.json").read_text(encoding="utf-8")
)
EVENT = OutboxEvent(7, 5, "log.checkpoint", "payments", {"size": 3}, "2026-01-02T03:04:05.000006Z")
BODY = (
    b'{"created_at":"2026-01-02T03:04:05.000006Z","event_id":7,"key":"payments",'
    b'"payload":{"size":3},"position":5,"topic":"log.checkpoint"}'
)
SIGNATURE = (
    "Ny7VrkUrvcsAOKMUTKNc0XaaLRmMsZwRCzGy3iksbdnxqpUL2PERSx41t2/R8LesuEqWMyDR4hhf1x3H3OKNBQ=="
)
BUNDLE = DisclosureBundle(
    (Disclosure("note", SALT, "café"), Disclosure("x", None, None)), "r", SALT
)


@pytest.fixture
def signer():
    """Return the outbox key of the specification."""
    return make_signer(name="outbox.example", secret=OUTBOX_SECRET)


def test_tags_are_distinct_and_end_where_content_begins():
    """No tag is the beginning of another, so no two kinds of message have common bytes."""
    assert len(TAGS) == len(set(TAGS))
    assert not [(a, b) for a in TAGS for b in TAGS if a != b and b.startswith(a)]
    assert all(tag.startswith(b"tallystick/") and tag.endswith(b"/v1\n") for tag in TAGS)


def test_tagged_messages():
    """A message is its tag and canonical JSON, and its hash covers both."""
    message = tagged(b"tallystick/seal-record/v1\n", {"b": 1, "a": None})
    assert message == b'tallystick/seal-record/v1\n{"a":null,"b":1}'
    assert len(message_hash(message)) == 32


def test_outbox_vector(signer):
    """log 2: body and signature of the outbox event are the specification's."""
    assert format_outbox_event(EVENT) == BODY
    header = sign_outbox_event(BODY, signer)
    assert f"{signer.key_id.hex()} {SIGNATURE}" == header
    assert check_outbox_event(BODY, header, [ed25519_verifier(signer.verifier_key)]) == EVENT


def test_false_outbox_signatures_are_refused(signer):
    """Another body, key or key id refuses the event."""
    verifier = ed25519_verifier(signer.verifier_key)
    header = sign_outbox_event(BODY, signer)
    other = make_signer(name="outbox.example", secret=SALT)
    for body, sent, known in (
        (BODY.replace(b"7", b"8"), header, [verifier]),
        (BODY, header, []),
        (BODY, header, [ed25519_verifier(other.verifier_key)]),
        (BODY, sign_outbox_event(BODY, other), [verifier]),
        (BODY, header.replace(signer.key_id.hex(), "00000000"), [verifier]),
    ):
        with pytest.raises(FalseSignatureError):
            check_outbox_event(body, sent, known)


@pytest.mark.parametrize("header", ["", "x", "00000000 AAAA", f" {SIGNATURE}=", "é é"])
def test_malformed_outbox_headers_are_refused(header):
    """A header that is not a key id and 64 bytes is refused."""
    with pytest.raises(MalformedMessageError):
        check_outbox_event(BODY, header, [])


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": 0},
        {"event_id": True},
        {"position": 2**53},
        {"topic": ""},
        {"key": None},
        {"payload": []},
        {"payload": {"x": 2**53}},
        {"created_at": "now"},
    ],
)
def test_malformed_events_are_not_written(change):
    """No event is written that would not parse as one."""
    with pytest.raises(MalformedMessageError):
        format_outbox_event(replace(EVENT, **change))


def test_disclosures_round_trip():
    """A disclosure message parses as what was written."""
    assert parse_disclosure(format_disclosure(BUNDLE)) == BUNDLE
    assert DisclosureBundle() == parse_disclosure(format_disclosure(DisclosureBundle()))


def test_disclosure_vector():
    """The disclosure message has exactly the bytes of the vector file."""
    expected = VECTORS["disclosure"]["message"].encode()
    assert expected == format_disclosure(BUNDLE)
    assert VECTORS["outbox_event"] == {
        "secret": OUTBOX_SECRET.hex(),
        "body": BODY.decode(),
        "signature": SIGNATURE,
    }


def test_a_record_is_disclosed_with_its_salt():
    """Salt and record come together or not at all."""
    for bundle in (replace(BUNDLE, salt=None), replace(BUNDLE, record=None)):
        with pytest.raises(MalformedMessageError):
            format_disclosure(bundle)


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_parsing_is_total(noise, start, length):
    """Any damage to a message ends in the named error, or in the message with those bytes."""
    for valid, parse, write in (
        (BODY, parse_outbox_event, format_outbox_event),
        (format_disclosure(BUNDLE), parse_disclosure, format_disclosure),
    ):
        damaged = valid[:start] + noise + valid[start + length :]
        try:
            parsed = parse(damaged)
        except MalformedMessageError:
            continue
        assert damaged == write(parsed)
