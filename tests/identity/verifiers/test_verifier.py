"""Who may verify: only whom the operator named (identity.md, section 4.5)."""

from __future__ import annotations

import datetime
import importlib.metadata

import pytest

from tallystick.config import load_settings
from tallystick.identity.errors import InvalidValueError, UnknownVerifierError
from tallystick.identity.verifiers import GROUP, BehaviourVerifier, SignatureVerifier
from tallystick.identity.verifiers.verifier import check_verifier, load_verifiers
from tests.support.verifiers import UnsafeAcceptAllVerifier


def test_an_operator_names_verifiers(monkeypatch):
    """Named verifiers are loaded from their entry points; the others do not count."""
    monkeypatch.setenv("TALLY_IDENTITY_VERIFIERS", '["signature"]')
    names = load_settings().identity_verifiers
    loaded = load_verifiers(names)
    assert list(loaded) == ["signature"]
    assert isinstance(loaded["signature"], SignatureVerifier)
    both = load_verifiers(["behaviour", "signature"])
    assert isinstance(both["behaviour"], BehaviourVerifier)
    assert [(v.name, v.version, v.assurance) for v in both.values()] == [
        ("behaviour", 1, 2),
        ("signature", 1, 1),
    ]
    assert {v.validity for v in both.values()} == {datetime.timedelta(hours=24)}


def test_a_name_that_nobody_offers_stops_the_start():
    """A misspelt verifier is an error, never a verifier less."""
    with pytest.raises(UnknownVerifierError):
        load_verifiers(["signature", "signatur"])


def test_no_installed_verifier_accepts_all():
    """identity 9: law 5: the package offers two verifiers, and the unsafe one is in tests alone."""
    ours = {
        point.name: point.value
        for point in importlib.metadata.entry_points(group=GROUP)
        if point.value.startswith("tallystick.")
    }
    assert ours == {
        "signature": "tallystick.identity.verifiers:SignatureVerifier",
        "behaviour": "tallystick.identity.verifiers:BehaviourVerifier",
    }
    assert UnsafeAcceptAllVerifier.__module__.startswith("tests.")


def test_the_name_of_the_claims_of_wallets_is_taken():
    """A verifier called `wallet` could claim what stands for wallets at all verifiers."""
    with pytest.raises(InvalidValueError) as raised:
        check_verifier("wallet", UnsafeAcceptAllVerifier(name="wallet"))
    assert raised.value.field == "name"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": "other"}),
        ("version", {"version": 0}),
        ("assurance", {"assurance": 0}),
        ("assurance", {"assurance": 4}),
        ("validity", {"validity": datetime.timedelta(minutes=59)}),
        ("validity", {"validity": datetime.timedelta(days=366)}),
    ],
)
def test_a_verifier_out_of_bounds_is_refused(field, change):
    """A verifier whose name, version, assurance or validity is out of bounds never counts."""
    with pytest.raises(InvalidValueError) as raised:
        check_verifier("unsafe", UnsafeAcceptAllVerifier(**change))
    assert raised.value.field == field
