"""The digest that tells intents apart (chain.md, section 5.1)."""

from __future__ import annotations

import pytest

from tallystick.record import Address, ChainId, Wei
from tallystick.record.chain_messages import chain_intent_digest, format_chain_intent

VECTOR = {
    "chain_id": ChainId(31337),
    "transaction_type": "anchor_publish",
    "to": Address("0x5fbdb2315678afecb367f032d93f642f64180aa3"),
    "call_data": bytes.fromhex("15954b2c"),
    "value": Wei(0),
}


def test_vector():
    """chain 23: the vector of section 5.1 holds: 168 bytes with the tag, and their SHA-256."""
    message = format_chain_intent(**VECTOR)
    assert message == (
        b"tallystick/chain-intent/v1\n"
        b'{"call_data":"0x15954b2c","chain_id":31337,'
        b'"to":"0x5fbdb2315678afecb367f032d93f642f64180aa3",'
        b'"transaction_type":"anchor_publish","value":"0"}'
    )
    assert len(message) == 168
    assert (
        chain_intent_digest(**VECTOR).hex()
        == "c3139325146fb6cfd84274614550e37cd378fa49b0dada2cb906dcb273515114"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain_id", 131277322940537),
        ("transaction_type", "approval"),
        ("to", None),
        ("call_data", b""),
        ("value", 2**256 - 1),
    ],
)
def test_each_field_is_in_the_digest(field, value):
    """An intent that differs in one field has another digest."""
    assert chain_intent_digest(**{**VECTOR, field: value}) != chain_intent_digest(**VECTOR)
