"""`tally human`: challenges of wallets and what they prove (identity.md, sections 4.4 and 6)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from tallystick.cli.commands.users import UserArgument
from tallystick.cli.output import print_lines, show
from tallystick.cli.place import HERE, Place
from tallystick.identity.human_proofs import (
    HumanProofRepository,
    HumanProofRules,
    ProofRefused,
    wallet_standing,
)
from tallystick.identity.verifiers import load_verifiers, parse_submission
from tallystick.record import ChainId
from tallystick.runtime.human_proofs import open_facts
from tallystick.runtime.place import database_url


def challenge(
    user: UserArgument,
    /,
    *,
    verifier: Annotated[str, Parameter(help="By which verifier; IDENTITY_VERIFIERS names them.")],
    chain: Annotated[int, Parameter(help="Chain id of the wallet.")] = 1,
    place: Place = HERE,
) -> None:
    """Issue a challenge and write the message that the wallet is to sign, byte for byte."""
    rules = rules_of(place)
    with place.transaction() as tx:
        issued = HumanProofRepository(tx, rules).issue_challenge(user, verifier, ChainId(chain))
    if place.json:
        show(issued, as_json=True)
    else:
        print_lines(f"challenge {issued.challenge_id}", "", *issued.message.split("\n"))


def submit(
    challenge_id: Annotated[str, Parameter(help="Id of the challenge.")],
    /,
    *,
    signature: Annotated[str, Parameter(help="The wallet's signature, in hexadecimal with 0x.")],
    transaction: Annotated[
        list[str] | None,
        Parameter(negative="", help="Hash of a transaction that the verifier reads; repeatable."),
    ] = None,
    place: Place = HERE,
) -> None:
    """Answer a challenge: a proof, or an attempt less and exit code 4."""
    settings, rules = place.settings(), rules_of(place)
    submission = parse_submission(signature=signature, transactions=transaction or ())
    with place.database() as database, open_facts(settings, database_url(settings)) as facts:
        with database.transaction(read_only=True) as tx:
            answered = HumanProofRepository(tx, rules).get_challenge(challenge_id)
        # A node may take seconds to answer, and no transaction waits for it.
        verdict = HumanProofRepository.check_submission(answered, submission, facts, rules=rules)
        with database.transaction() as tx:
            decided = HumanProofRepository(tx, rules).submit(answered, submission, verdict)
    if isinstance(decided, ProofRefused):
        raise decided.error()
    show(decided, as_json=place.json)


def status(
    wallet: Annotated[str, Parameter(help="Address of the wallet.")], /, *, place: Place = HERE
) -> None:
    """Show whether a wallet has a proof that counts now."""
    rules = rules_of(place)
    with place.transaction(read_only=True) as tx:
        standing = wallet_standing(tx, wallet, rules)
    show(standing, as_json=place.json)


def rules_of(place: Place) -> HumanProofRules:
    """Return what the operator decided of human proofs."""
    settings = place.settings()
    return HumanProofRules(load_verifiers(settings.identity_verifiers), settings.base_url)
