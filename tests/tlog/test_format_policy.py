"""Policies written and read back."""

from __future__ import annotations

import dataclasses

import pytest

from tallystick.tlog import MalformedPolicyError, format_policy, parse_policy
from tests.support.sealed import SealedLog, witness_signer


def test_a_policy_parses_as_itself() -> None:
    """What is written is read as the same policy, with and without witnesses and URLs."""
    for witnesses in ((), (witness_signer(),)):
        log = SealedLog([b"leaf"], witnesses=witnesses)
        for url in ("", "https://log.example"):
            policy = parse_policy(log.policy(url=url))
            assert parse_policy(format_policy(policy)) == policy


def test_a_policy_that_cannot_be_written_is_refused() -> None:
    """A name with a space, or a quorum that nobody defined, would be read as another policy."""
    policy = parse_policy(SealedLog([b"leaf"], witnesses=(witness_signer(),)).policy())
    spaced = dataclasses.replace(policy.witnesses[0], name=b"a b")
    for wrong in (
        dataclasses.replace(policy, witnesses=(spaced,)),
        dataclasses.replace(policy, quorum=b"nobody"),
        dataclasses.replace(policy, logs=policy.logs * 2),
    ):
        with pytest.raises(MalformedPolicyError):
            format_policy(wrong)
