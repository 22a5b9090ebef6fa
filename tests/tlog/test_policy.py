"""Trust policies."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.tlog import (
    EMPTY_ROOT,
    Checkpoint,
    MalformedCheckpointError,
    MalformedNoteError,
    MalformedPolicyError,
    Note,
    QuorumError,
    Signature,
    UnverifiedNoteError,
    check_policy,
    check_quorum,
    format_checkpoint,
    format_verifier_key,
    parse_cosignature,
    parse_policy,
    policy_keys,
    sign_cosignature,
    sign_note,
)
from tests.tlog.signing import LOG, SECOND_WITNESS, WITNESS, TestSigner, TestVerifier

WITNESSES = [TestSigner(f"w{number}.example", bytes([number]) * 32, 4) for number in range(1, 7)]
LOG_LINE = f"log {format_verifier_key(LOG.key)}\n"
NAMES = ("X1", "X2", "X3", "Y1", "Y2", "Y3")
WITNESS_LINES = "".join(
    f"witness {name} {format_verifier_key(witness.key)}\n"
    for name, witness in zip(NAMES, WITNESSES, strict=True)
)
EXAMPLE = (
    LOG_LINE
    + WITNESS_LINES
    + """
# two organizations
group X-witnesses 2 X1 X2 X3
\tgroup  Y-witnesses any Y1 Y2\tY3
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
)
TEXT = format_checkpoint(Checkpoint(LOG.name, 0, EMPTY_ROOT))


def check(policy, note):
    """Check *note* with a verifier for each key of *policy*."""
    return check_policy(policy, note, {key: TestVerifier(key) for key in policy_keys(policy)})


def cosigned(*signers, text=TEXT):
    """The log's checkpoint with the cosignatures of *signers*."""
    lines = [sign_cosignature(text, signer, time_seconds=9) for signer in signers]
    return Note(text, (*sign_note(text, [LOG]).signatures, *lines))


def test_the_example_of_tlog_policy():
    """Of all 64 sets of witnesses exactly those with two X and one Y make the quorum."""
    policy = parse_policy(EXAMPLE.encode())
    lines = [
        parse_cosignature(sign_cosignature(TEXT, witness, time_seconds=1)) for witness in WITNESSES
    ]
    for chosen in itertools.product([False, True], repeat=6):
        cosignatures = list(itertools.compress(lines, chosen))
        if sum(chosen[:3]) >= 2 and sum(chosen[3:]) >= 1:
            check_quorum(policy, cosignatures)
        else:
            with pytest.raises(QuorumError) as caught:
                check_quorum(policy, cosignatures)
            assert caught.value.expected == b"X-and-Y"
            assert (
                tuple(name.encode() for name in itertools.compress(NAMES, chosen))
                == caught.value.actual
            )


def test_a_policy_accepts_its_log_and_quorum():
    """A checkpoint of a policy's log, cosigned by the quorum, is trusted with its times."""
    policy = parse_policy(EXAMPLE.encode())
    trusted = check(policy, cosigned(*WITNESSES[:2], WITNESSES[5]))
    assert (LOG.name, 0, EMPTY_ROOT) == (
        trusted.checkpoint.origin,
        trusted.checkpoint.size,
        trusted.checkpoint.root,
    )
    assert [item.time_seconds for item in trusted.cosignatures] == [9, 9, 9]
    assert len(policy_keys(policy)) == 7


def test_one_witness_cannot_count_twice():
    """Repeated cosignatures of one witness are one."""
    policy = parse_policy(EXAMPLE.encode())
    with pytest.raises(QuorumError):
        check(policy, cosigned(WITNESSES[0], WITNESSES[0], WITNESSES[5]))


def test_quorum_none_asks_for_no_witness():
    """With `quorum none` the log's signature is enough; a known false cosignature is not."""
    policy = parse_policy(f"{LOG_LINE}{WITNESS_LINES}quorum none\n".encode())
    assert check(policy, cosigned()).cosignatures == ()
    false = Signature(WITNESSES[0].name, WITNESSES[0].key_id, bytes(72))
    note = Note(TEXT, (*cosigned().signatures, false))
    with pytest.raises(UnverifiedNoteError):
        check(policy, note)


def test_only_a_log_of_the_policy_is_believed():
    """An unknown origin, an unsigned note and another known log's signature are refused."""
    other = TestSigner("other.example/log", bytes(32))
    lines = f"{LOG_LINE}log {format_verifier_key(other.key)}\nquorum none\n"
    policy = parse_policy(lines.encode())
    unknown = format_checkpoint(Checkpoint("unknown.example", 0, EMPTY_ROOT))
    for note in (
        sign_note(unknown, [LOG]),
        sign_note(TEXT, [other]),
        Note(TEXT, (Signature("stranger", b"abcd", b"x"),)),
    ):
        with pytest.raises(UnverifiedNoteError):
            check(policy, note)
    with pytest.raises(MalformedCheckpointError):
        check(policy, sign_note("hello\n", [LOG]))


def test_a_log_key_is_no_witness():
    """The log's own signature never stands in for a cosignature."""
    policy = parse_policy(f"{LOG_LINE}{WITNESS_LINES}quorum X1\n".encode())
    with pytest.raises(QuorumError):
        check(policy, cosigned())
    check(policy, cosigned(WITNESSES[0]))


def test_urls_and_names_are_opaque_octets():
    """A name is its octets: the Kelvin sign is not K; URLs are kept as they are."""
    first, second = (format_verifier_key(signer.key) for signer in (WITNESS, SECOND_WITNESS))
    text = (
        f"log {format_verifier_key(LOG.key)} https://log.example/\n"
        f"witness K {first} https://w.example\nwitness \u212a {second}\nquorum \u212a\n"
    )
    policy = parse_policy(text.encode())
    assert "\u212a".encode() == policy.quorum
    assert policy.logs[0].url == b"https://log.example/"
    assert [witness.url for witness in policy.witnesses] == [b"https://w.example", None]
    latin = parse_policy(f"witness \xff {first}\nquorum \xff\n".encode("latin-1"))
    assert latin.quorum == b"\xff"


W1 = f"witness A {format_verifier_key(WITNESS.key)}\n"
W2 = f"witness B {format_verifier_key(SECOND_WITNESS.key)}\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        LOG_LINE,
        "quorum none",
        "quorum none\nquorum none\n",
        "quorum\n",
        "quorum A\n",
        f"quorum A\n{W1}",
        f"{W1}quorum A B\n",
        f"{W1}{W1}quorum A\n",
        f"{W1}{W1.replace(' A ', ' B ')}quorum A\n",
        f"{W1}{W2.replace(' B ', ' A ')}quorum A\n",
        f"{W1.replace(' A ', ' none ')}quorum none\n",
        f"{LOG_LINE}{LOG_LINE}quorum none\n",
        f"{W1}group none any A\nquorum none\n",
        f"{W1}group A any A\nquorum A\n",
        f"{W1}group G any\nquorum G\n",
        f"{W1}group G\nquorum A\n",
        f"{W1}group G 0 A\nquorum G\n",
        f"{W1}group G 2 A\nquorum G\n",
        f"{W1}group G 01 A\nquorum G\n",
        f"{W1}group G -1 A\nquorum G\n",
        f"{W1}group G some A\nquorum G\n",
        f"{W1}group G any G\nquorum G\n",
        f"{W1}group G any none\nquorum G\n",
        f"{W1}group G any B\n{W2}quorum G\n",
        f"{W1}group G 1 A A\nquorum G\n",
        f"{W1}{W2}group G any A\ngroup H all A B\nquorum H\n",
        f"log {format_verifier_key(WITNESS.key)}\nquorum none\n",
        f"witness A {format_verifier_key(LOG.key)}\nquorum A\n",
        "log nokey\nquorum none\n",
        f"{LOG_LINE[:-1]} url more\nquorum none\n",
        f"{W1[:-1]} url more\nquorum none\n",
        "witness A\nquorum none\n",
        "wirness A B\nquorum none\n",
        "quorum none\r\n",
        "quorum none\n\x00",
        "\x7f\nquorum none\n",
    ],
)
def test_other_policies_are_malformed(text):
    """Each departure from tlog-policy is refused as a whole."""
    with pytest.raises(MalformedPolicyError):
        parse_policy(text.encode())


def test_a_fault_names_its_line():
    """The error says on which line the policy is wrong."""
    with pytest.raises(MalformedPolicyError, match=r"^line 2: "):
        parse_policy(b"# comment\nlog nokey\nquorum none\n")


def test_limits_of_a_policy():
    """A policy has at most 1,000,000 bytes and 1,024 lines of one kind."""
    with pytest.raises(MalformedPolicyError):
        parse_policy(b"\n" * 1_000_001)
    groups = ["A"] + [f"G{number}" for number in range(1025)]
    lines = [f"group {new} any {old}\n" for old, new in itertools.pairwise(groups)]
    end = "quorum A\n"
    assert len(parse_policy("".join([W1, *lines[:1024], end]).encode()).groups) == 1024
    with pytest.raises(MalformedPolicyError):
        parse_policy("".join([W1, *lines, end]).encode())


@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [LOG_LINE, W1, W2, "group G any A\n", "group H 2 A B\n", "quorum G\n", "x", "\xff"]
        )
    ).map(lambda lines: "".join(lines).encode("latin-1"))
)
@settings(deadline=None)
def test_bytes_are_a_policy_or_malformed(data):
    """Whatever the bytes, the parser gives a policy or names them malformed."""
    try:
        policy = parse_policy(data)
    except MalformedPolicyError:
        return
    with pytest.raises((UnverifiedNoteError, QuorumError, MalformedNoteError)):
        check(policy, Note(TEXT, ()))
