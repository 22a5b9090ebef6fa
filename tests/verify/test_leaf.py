"""The verdict on one leaf: true proofs pass, and each false one is refused at its step."""

from __future__ import annotations

import datetime
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Kind
from tallystick.record import (
    Disclosure,
    DisclosureBundle,
    field_key,
    format_disclosure,
    format_record,
    salted_digest,
)
from tallystick.tlog import (
    LeafIndex,
    Note,
    Signature,
    TreeSize,
    VerifierKey,
    format_tlog_proof,
    format_verifier_key,
    make_key_id,
    parse_policy,
    parse_tlog_proof,
)
from tallystick.verify import (
    CosignatureError,
    DisclosureFormatError,
    FalseDisclosureError,
    ForeignLeafError,
    KeyPeriod,
    LeafNotIncludedError,
    LeafRecordError,
    LogSignatureError,
    ProofFormatError,
    QuorumMissingError,
    TrustedPolicy,
    UntrustedLogError,
    UnusablePolicyError,
    VerificationError,
    check_leaf,
)
from tests.support.sealed import (
    COSIGNED_AT,
    ORIGIN,
    SALT,
    SealedLog,
    log_signer,
    payment,
    vector_leaves,
    witness_signer,
)

LEAVES = [format_record(payment(number)) for number in range(5)]
OTHER_SECRET = b"\x07" * 32


@pytest.fixture
def log():
    """Return a log of five records without witnesses."""
    return SealedLog(LEAVES)


@pytest.fixture
def witnessed():
    """Return a log of five records with two witnesses."""
    witnesses = [witness_signer(), witness_signer("witness.example/w2", OTHER_SECRET)]
    return SealedLog(LEAVES, witnesses=witnesses)


def moment(seconds):
    """Return the moment *seconds* after the witnesses cosigned."""
    return datetime.datetime.fromtimestamp(COSIGNED_AT + seconds, tz=datetime.UTC)


def refused(error, proof, *, leaf, policy, **options):
    """Check that the proof is refused with *error*, whose step it names, and return it."""
    with pytest.raises(VerificationError) as caught:
        check_leaf(proof, leaf=leaf, policy=policy, **options)
    assert error is type(caught.value)
    assert caught.value.step_name
    return caught.value


def test_a_true_proof_gives_the_leaf(witnessed):
    """A leaf of a trusted, witnessed log comes back with its record, head and witnesses."""
    for index, leaf in enumerate(LEAVES):
        verified = check_leaf(witnessed.proof(index), leaf=leaf, policy=witnessed.policy())
        assert (index, 5, ORIGIN) == (
            verified.index,
            verified.checkpoint.size,
            verified.checkpoint.origin,
        )
        assert (str(index),) == verified.record.key
        assert [item.name for item in verified.cosignatures] == [
            "witness.example/w1",
            "witness.example/w2",
        ]
        assert (verified.log_name, verified.disclosed) == ("payments", {})


def test_the_vector_log_verifies():
    """log 2: the specification's log of three leaves, cosigned, verifies leaf by leaf."""
    log = SealedLog(vector_leaves(), witnesses=[witness_signer()])
    for index, leaf in enumerate(log.leaves):
        record = check_leaf(log.proof(index), leaf=leaf, policy=log.policy()).record
        assert ("insert", "update", "delete")[index] == record.op


def test_a_policy_may_be_parsed_already(log):
    """Policy text and the parsed policy judge alike."""
    policy = parse_policy(log.policy())
    assert check_leaf(log.proof(0), leaf=LEAVES[0], policy=policy) == check_leaf(
        log.proof(0), leaf=LEAVES[0], policy=log.policy()
    )


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_any_flipped_byte_of_proof_or_leaf_is_refused(log, flip):
    """log 1: any byte flipped in proof or leaf makes it false or malformed, and names the step."""
    proof, policy = log.proof(2), log.policy()
    for position in range(len(proof)):
        damaged = bytearray(proof)
        damaged[position] ^= flip
        with pytest.raises(VerificationError) as caught:
            check_leaf(bytes(damaged), leaf=LEAVES[2], policy=policy)
        assert caught.value.kind in (Kind.FALSE, Kind.MALFORMED)
        assert 1 <= caught.value.step <= 6
    for position in range(len(LEAVES[2])):
        leaf = bytearray(LEAVES[2])
        leaf[position] ^= flip
        assert refused(LeafNotIncludedError, proof, leaf=bytes(leaf), policy=policy).step == 4


def test_any_flipped_byte_under_disclosures_and_witnesses_is_refused():
    """log 1: with witnesses and disclosures in the file, too, no flipped byte goes unnoticed."""
    leaf = format_record(payment(1, private_columns={"note"}, salt=SALT))
    log = SealedLog([leaf, *LEAVES], witnesses=[witness_signer()])
    bundle = DisclosureBundle((Disclosure("note", field_key(SALT, "note"), "café"),))
    proof, policy = log.proof(0, extra=format_disclosure(bundle)), log.policy()
    check_leaf(proof, leaf=leaf, policy=policy)
    steps = set()
    for position in range(len(proof)):
        damaged = bytearray(proof)
        damaged[position] ^= 0x01
        with pytest.raises(VerificationError) as caught:
            check_leaf(bytes(damaged), leaf=leaf, policy=policy)
        steps.add(caught.value.step)
    assert {1, 2, 3, 4, 6} == steps


@given(st.binary(max_size=50), st.integers(0, 500), st.integers(0, 50))
@settings(max_examples=150, deadline=None)
def test_the_verdict_is_total(noise, start, length):
    """Whatever bytes come in as proof, leaf or policy, only a named error comes out."""
    log = SealedLog(LEAVES)
    proof, policy = log.proof(1), log.policy()
    for arguments in (
        {"proof": proof[:start] + noise + proof[start + length :]},
        {"leaf": LEAVES[1][:start] + noise + LEAVES[1][start + length :]},
        {"policy": policy[:start] + noise + policy[start + length :]},
    ):
        given_all = {"proof": proof, "leaf": LEAVES[1], "policy": policy} | arguments
        try:
            verified = check_leaf(given_all.pop("proof"), **given_all)
        except VerificationError:
            continue
        assert LEAVES[1] == verified.leaf


# Step 0: the policy.


def test_a_malformed_policy_is_unusable(log):
    """Step 0: a policy that does not parse judges nothing."""
    for policy in (b"", b"log x\nquorum none\n", log.policy() * 2):
        refused(UnusablePolicyError, log.proof(0), leaf=LEAVES[0], policy=policy)


def test_a_policy_with_a_weak_key_is_unusable(log):
    """Step 0: a key that verifies anybody's signature is refused, though another one signed."""
    weak = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
    key_id = make_key_id(ORIGIN, algorithm=1, public_key=weak)
    line = f"log {format_verifier_key(VerifierKey(ORIGIN, key_id, 1, weak))}\n"
    policy = line.encode() + log.policy()
    refused(UnusablePolicyError, log.proof(0), leaf=LEAVES[0], policy=policy)


# Step 1: the format.


def test_a_malformed_proof_is_refused(log):
    """Step 1: what is no proof, or whose note is no checkpoint, is refused before all else."""
    for proof in (b"", b"x", log.note_bytes(), log.proof(0)[:-1], log.proof(0) + b"\n"):
        error = refused(ProofFormatError, proof, leaf=LEAVES[0], policy=log.policy())
        assert (error.step, error.kind) == (1, Kind.MALFORMED)
    note = Note("not a checkpoint\n", log.note().signatures)
    refused(ProofFormatError, log.proof(0, note=note), leaf=LEAVES[0], policy=log.policy())


# Step 2: the log.


def test_an_unknown_origin_is_refused(log):
    """Step 2: a log that the policy does not name proves nothing, however well it is signed."""
    stranger = SealedLog(
        LEAVES, origin="evil.example/payments", signers=[log_signer("evil.example/payments")]
    )
    error = refused(UntrustedLogError, stranger.proof(0), leaf=LEAVES[0], policy=log.policy())
    assert (error.step, error.kind) == (2, Kind.FALSE)


def test_a_signature_of_another_key_is_refused(log):
    """Step 2: the origin's name without its key's signature is refused."""
    forged = SealedLog(LEAVES, signers=[log_signer(secret=OTHER_SECRET)])
    refused(LogSignatureError, forged.proof(0), leaf=LEAVES[0], policy=log.policy())


def test_another_trusted_log_may_not_sign_for_this_one(log):
    """Step 2: a key that is trusted for one origin does not sign another's checkpoint."""
    other = SealedLog(
        LEAVES, origin="log.example/other", signers=[log_signer("log.example/other", OTHER_SECRET)]
    )
    policy = b"".join([other.policy().replace(b"quorum none\n", b""), log.policy()])
    forged = SealedLog(LEAVES, signers=other.signers)
    refused(LogSignatureError, forged.proof(0), leaf=LEAVES[0], policy=policy)


def test_a_false_signature_rejects_a_note_that_another_key_signed(log):
    """Step 2: one false signature of a known key is enough to refuse."""
    second = log_signer(secret=OTHER_SECRET)
    both = SealedLog(LEAVES, signers=[log_signer(), second])
    note = both.note()
    bad = replace(note.signatures[1], signature=bytes(64))
    forged = Note(note.text, (note.signatures[0], bad))
    refused(LogSignatureError, log.proof(0, note=forged), leaf=LEAVES[0], policy=both.policy())


@pytest.mark.parametrize(
    ("period", "is_good"),
    [
        (KeyPeriod(), True),
        (KeyPeriod(TreeSize(5), TreeSize(5)), True),
        (KeyPeriod(TreeSize(0), TreeSize(4)), False),
        (KeyPeriod(TreeSize(6)), False),
    ],
)
def test_a_key_signs_in_its_period_only(log, period, is_good):
    """Law 15: a signature of a key outside its period, ends included in it, is not accepted."""
    key = log_signer().verifier_key
    policy = TrustedPolicy(parse_policy(log.policy()), {key: period})
    if is_good:
        check_leaf(log.proof(0), leaf=LEAVES[0], policy=policy)
    else:
        refused(LogSignatureError, log.proof(0), leaf=LEAVES[0], policy=policy)


def test_during_rotation_either_key_is_enough():
    """While two keys sign, the one whose period covers the size carries the proof."""
    old, new = log_signer(), log_signer(secret=OTHER_SECRET)
    log = SealedLog(LEAVES, signers=[old, new])
    periods = {
        old.verifier_key: KeyPeriod(to_size=TreeSize(4)),
        new.verifier_key: KeyPeriod(from_size=TreeSize(3)),
    }
    policy = TrustedPolicy(parse_policy(log.policy()), periods)
    check_leaf(log.proof(0), leaf=LEAVES[0], policy=policy)
    alone = SealedLog(LEAVES, signers=[old])
    refused(LogSignatureError, alone.proof(0), leaf=LEAVES[0], policy=policy)


def test_a_false_signature_counts_against_the_note_out_of_its_keys_period(log):
    """Step 2: a known key's false signature rejects the note, though its period is over."""
    retired = log_signer(secret=OTHER_SECRET)
    note = SealedLog(LEAVES, signers=[log_signer(), retired]).note()
    bad = replace(note.signatures[1], signature=bytes(64))
    policy = TrustedPolicy(
        parse_policy(SealedLog(LEAVES, signers=[log_signer(), retired]).policy()),
        {retired.verifier_key: KeyPeriod(to_size=TreeSize(3))},
    )
    check_leaf(log.proof(0, note=note), leaf=LEAVES[0], policy=policy)
    forged = Note(note.text, (note.signatures[0], bad))
    refused(LogSignatureError, log.proof(0, note=forged), leaf=LEAVES[0], policy=policy)


# Step 3: the witnesses.


def test_a_missing_cosignature_is_missing_evidence(witnessed):
    """Step 3: too few cosignatures establish nothing, and are not false."""
    note = witnessed.note()
    fewer = Note(note.text, note.signatures[:-1])
    error = refused(
        QuorumMissingError,
        witnessed.proof(0, note=fewer),
        leaf=LEAVES[0],
        policy=witnessed.policy(),
    )
    assert (error.step, error.kind) == (3, Kind.NOT_ESTABLISHED)


def test_one_witness_twice_is_one(witnessed):
    """Step 3: a witness that cosigned twice counts once."""
    note = witnessed.note()
    later = replace(witnessed, cosigned_at=COSIGNED_AT + 1).note()
    twice = Note(note.text, (*note.signatures[:2], later.signatures[1]))
    refused(
        QuorumMissingError,
        witnessed.proof(0, note=twice),
        leaf=LEAVES[0],
        policy=witnessed.policy(),
    )


def test_a_false_cosignature_is_refused_even_beyond_the_quorum(witnessed):
    """Step 3: every known cosignature must verify, though the quorum holds without it."""
    note = witnessed.note()
    for blob in (bytes(72), b"short"):
        bad = replace(note.signatures[2], signature=blob)
        forged = Note(note.text, (*note.signatures[:2], bad))
        error = refused(
            CosignatureError,
            witnessed.proof(0, note=forged),
            leaf=LEAVES[0],
            policy=witnessed.policy(quorum="w0"),
        )
        assert Kind.FALSE is error.kind


def test_strangers_cosignatures_say_nothing(witnessed):
    """Signatures of keys that the policy does not know are passed over."""
    note = witnessed.note()
    strange = Note(note.text, (*note.signatures, Signature("who.example", b"abcd", b"x" * 72)))
    check_leaf(witnessed.proof(0, note=strange), leaf=LEAVES[0], policy=witnessed.policy())


def test_at_bounds_the_times_of_cosignatures(witnessed):
    """Step 3: with `at` the quorum must have cosigned by then."""
    arguments = {"leaf": LEAVES[0], "policy": witnessed.policy()}
    check_leaf(witnessed.proof(0), **arguments, at=moment(0))
    check_leaf(witnessed.proof(0), **arguments, at=moment(1))
    refused(QuorumMissingError, witnessed.proof(0), **arguments, at=moment(-1))


def test_a_cosignature_without_a_time_is_of_no_time():
    """Step 3: a cosignature of time 0 counts for the quorum, and for no `at`."""
    witness = witness_signer()
    log = SealedLog(LEAVES, witnesses=[witness])
    text = log.note().text
    signed = witness.sign(b"cosignature/v1\ntime 0\n" + text.encode())
    line = Signature(witness.name, witness.key_id, bytes(8) + signed)
    proof = log.proof(0, note=Note(text, (log.note().signatures[0], line)))
    check_leaf(proof, leaf=LEAVES[0], policy=log.policy())
    refused(QuorumMissingError, proof, leaf=LEAVES[0], policy=log.policy(), at=moment(0))


# Step 4: the tree.


def test_another_leaf_index_or_path_is_refused(log):
    """Step 4: leaf, index and path must all be those of the tree."""
    proof = parse_tlog_proof(log.proof(1))
    for forged in (
        replace(proof, index=LeafIndex(0)),
        replace(proof, index=LeafIndex(5)),
        replace(proof, index=LeafIndex(2**62)),
        replace(proof, hashes=proof.hashes[:-1]),
        replace(proof, hashes=(*proof.hashes, proof.hashes[0])),
        replace(proof, hashes=proof.hashes[::-1]),
    ):
        error = refused(
            LeafNotIncludedError,
            format_tlog_proof(forged),
            leaf=LEAVES[1],
            policy=log.policy(),
        )
        assert (error.step, error.kind) == (4, Kind.FALSE)
    refused(LeafNotIncludedError, log.proof(1), leaf=LEAVES[2], policy=log.policy())


def test_a_path_to_another_size_is_refused(log):
    """Step 4: a path of the tree as it was does not prove the tree as it is."""
    older = SealedLog(LEAVES[:4])
    refused(
        LeafNotIncludedError, older.proof(1, note=log.note()), leaf=LEAVES[1], policy=log.policy()
    )


def test_the_empty_log_holds_nothing():
    """Step 4: nothing is included in a checkpoint of size 0."""
    note = SealedLog(LEAVES).note(0)
    proof = SealedLog(LEAVES[:1]).proof(0, note=note)
    refused(LeafNotIncludedError, proof, leaf=LEAVES[0], policy=SealedLog(LEAVES).policy())


# Step 5: the record.


def test_the_leaf_of_another_log_is_refused():
    """Law 15: a record of one log that was put into another does not verify there."""
    foreign = format_record(payment(1, log="refunds"))
    log = SealedLog([*LEAVES, foreign])
    error = refused(ForeignLeafError, log.proof(5), leaf=foreign, policy=log.policy())
    assert (error.step, error.kind) == (5, Kind.FALSE)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "payments"),
        ("https://a.example/logs/refunds", "refunds"),
        ("https://a.example/logs/refunds/", "refunds"),
        ("https://a.example/logs/refunds?x=/y#/z", "refunds"),
        ("https://a.example", "payments"),
    ],
)
def test_the_policy_names_the_log(url, name):
    """The log's name is the last segment of its URL in the policy, or else of its origin."""
    leaf = format_record(payment(1, log=name))
    log = SealedLog([leaf])
    assert name == check_leaf(log.proof(0), leaf=leaf, policy=log.policy(url=url)).log_name


def test_a_policy_with_two_names_for_a_log_is_unusable():
    """Two lines for one origin must agree on the log's name."""
    log = SealedLog(LEAVES, signers=[log_signer(), log_signer(secret=OTHER_SECRET)])
    first, rest = log.policy().split(b"\n", 1)
    policy = first + b" https://a.example/logs/refunds\n" + rest
    refused(UnusablePolicyError, log.proof(0), leaf=LEAVES[0], policy=policy)


@pytest.mark.parametrize(
    "leaf",
    [
        b"tallystick/seal-record/v1\n{}",
        LEAVES[0] + b"\n",
        b"tallystick/seal-record/v2\n{}",
        b"tallystick/",
    ],
)
def test_a_pushed_entry_does_not_pass_for_a_record(leaf):
    """Law 15: whatever begins with the reserved prefix is a whole record or is refused."""
    log = SealedLog([leaf])
    error = refused(LeafRecordError, log.proof(0), leaf=leaf, policy=log.policy())
    assert (error.step, error.kind) == (5, Kind.MALFORMED)


def test_a_pushed_entry_is_no_record():
    """A leaf of any other bytes verifies, and says that it is no record."""
    for leaf in (b"data", b"x" + LEAVES[0], LEAVES[0][len(b"tallystick/seal-record/v1\n") :]):
        log = SealedLog([leaf])
        verified = check_leaf(log.proof(0), leaf=leaf, policy=log.policy())
        assert (leaf, None) == (verified.leaf, verified.record)


# Step 6: the disclosures.


@pytest.fixture
def private():
    """Return a log whose only record commits to its note."""
    return SealedLog([format_record(payment(1, private_columns={"note"}, salt=SALT))])


def test_disclosed_columns_are_opened(private):
    """Disclosures that travel with the proof give the values that they open."""
    bundle = DisclosureBundle((Disclosure("note", field_key(SALT, "note"), "café"),))
    proof = private.proof(0, extra=format_disclosure(bundle))
    verified = check_leaf(proof, leaf=private.leaves[0], policy=private.policy())
    assert verified.disclosed == {"note": "café"}


def test_false_disclosures_are_refused(private):
    """Step 6: a value that opens no commitment refuses the whole proof."""
    for disclosure in (
        Disclosure("note", field_key(SALT, "note"), "cafe"),
        Disclosure("amount", field_key(SALT, "amount"), "10.50"),
    ):
        extra = format_disclosure(DisclosureBundle((disclosure,)))
        error = refused(
            FalseDisclosureError,
            private.proof(0, extra=extra),
            leaf=private.leaves[0],
            policy=private.policy(),
        )
        assert (error.step, error.kind) == (6, Kind.FALSE)


def test_other_extra_data_are_refused(private):
    """Step 6: extra data that bind to nothing are not shown beside a verified leaf."""
    error = refused(
        DisclosureFormatError,
        private.proof(0, extra=b"trust me"),
        leaf=private.leaves[0],
        policy=private.policy(),
    )
    assert (error.step, error.kind) == (6, Kind.MALFORMED)


def test_a_salted_leaf_opens_to_its_record():
    """Salt and record open a salted leaf; the record then meets step 5 as if it stood in clear."""
    own, foreign = LEAVES[0], format_record(payment(1, log="refunds"))
    log = SealedLog([salted_digest(SALT, leaf) for leaf in (own, foreign)])
    extras = [
        format_disclosure(DisclosureBundle(record=leaf.decode(), salt=SALT))
        for leaf in (own, foreign)
    ]
    policy = log.policy()
    verified = check_leaf(log.proof(0, extra=extras[0]), leaf=log.leaves[0], policy=policy)
    assert verified.record.key == ("0",)
    assert None is check_leaf(log.proof(0), leaf=log.leaves[0], policy=policy).record
    refused(FalseDisclosureError, log.proof(0, extra=extras[1]), leaf=log.leaves[0], policy=policy)
    refused(ForeignLeafError, log.proof(1, extra=extras[1]), leaf=log.leaves[1], policy=policy)


def test_a_digest_discloses_no_columns_unopened():
    """Step 6: columns of a leaf that is no record cannot be disclosed."""
    log = SealedLog([b"data"])
    extra = format_disclosure(DisclosureBundle((Disclosure("a", SALT, "b"),)))
    refused(FalseDisclosureError, log.proof(0, extra=extra), leaf=b"data", policy=log.policy())


# The errors and the import.


def test_each_error_names_its_step_and_keeps_its_cause(log):
    """An error has a step, a word for it, and the kernel's error as its cause."""
    for error in VerificationError.__subclasses__():
        assert error.step_name
        assert 0 <= error.step <= 9
        assert error.__doc__
    caught = refused(LeafNotIncludedError, log.proof(0), leaf=b"x", policy=log.policy())
    assert type(caught.__cause__).__name__ == "InclusionError"


def test_the_verifier_loads_no_driver():
    """log 32: importing the verifier loads no driver, server, web3 or settings library."""
    program = (
        "import sys, tallystick.verify, tallystick.record\n"
        "heavy = {'psycopg', 'psycopg_pool', 'litestar', 'web3', 'cyclopts', 'pydantic',"
        " 'pydantic_settings', 'granian', 'jinja2', 'httpx', 'asyncio', 'socket', 'ssl',"
        " 'tallystick.db', 'tallystick.client'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
