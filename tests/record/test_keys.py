"""Keys: files for their owner alone, and no weak key in use."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.record import (
    KeyExistsError,
    KeyNotFoundError,
    KeyPermissionsError,
    MalformedKeyError,
    check_public_key,
    cosignature_verifier,
    create_signer_file,
    ed25519_verifier,
    load_signer,
    load_signers,
    make_signer,
    verify_signature,
)
from tallystick.tlog import (
    ALGORITHM_COSIGNATURE,
    VerifierKey,
    check_cosignature,
    check_note,
    format_verifier_key,
    make_key_id,
    sign_cosignature,
)
from tallystick.tlog.encoding import format_base64
from tests.support.sealed import (
    COSIGNED_AT,
    LOG_SECRET,
    ORIGIN,
    SealedLog,
    log_signer,
    vector_leaves,
    witness_signer,
)
from tests.support.vectors import vector_path

VKEY = "log.example/payments+37b1640e+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
WITNESS_VKEY = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"


@pytest.fixture
def key_file(tmp_path):
    """Return the path of a sound key file."""
    return create_signer_file(tmp_path / "keys", name=ORIGIN, secret=LOG_SECRET)


def signature_text(signature):
    """Return a signature line's base64."""
    return format_base64(signature.key_id + signature.signature)


def test_vector_keys_and_notes():
    """log 2: vkeys and signatures over the checkpoints of sizes 3 and 0 are the specification's."""
    log = SealedLog(vector_leaves())
    assert format_verifier_key(log_signer().verifier_key) == VKEY
    assert format_verifier_key(witness_signer().verifier_key) == WITNESS_VKEY
    assert signature_text(log.note(3).signatures[0]) == (
        "N7FkDv9Ag8ra6Ty79l1/OYPlxX/krC7Mj5Mzt8WYMtq2eQJLIQi8ydgOWqoFFAF1xEbzm9S5oq0bc/Hs0JKQUS49"
        "HQk="
    )
    assert signature_text(log.note(0).signatures[0]) == (
        "N7FkDsYgYemHwJwdSWCOs2SbKHRoUJQBz0bcPNJLQ/4quHin/7ulYOOjbEw2AERX9KsHDDM5pleqKqSKLHxblmip"
        "Qgs="
    )
    check_note(log.note(3), [ed25519_verifier(VKEY)])


def test_vector_cosignature():
    """log 2: the witness's cosignature is the specification's, and verifies."""
    text = SealedLog(vector_leaves()).note(3).text
    signature = sign_cosignature(text, witness_signer(), time_seconds=COSIGNED_AT)
    assert signature_text(signature) == (
        "IDJKvgAAAABpVzWn1qsXxxpfn126uU6bMRhwc8UOY9MGpyxWUep9G/C25Jv8qmzphShYfQr7HQxi5I/jw+9Ek3tB"
        "qCuAaSvgfNt6AA=="
    )
    check_cosignature(text, signature, cosignature_verifier(WITNESS_VKEY))


def test_a_created_key_loads(key_file):
    """The file that is written is loaded again, under the name of its key id."""
    assert f"{log_signer().key_id.hex()}.key" == key_file.name
    assert log_signer() == load_signer(key_file)
    assert [log_signer()] == load_signers(key_file.parent)


def test_random_keys_differ(tmp_path):
    """Keys are drawn at random, of either kind."""
    first = load_signer(create_signer_file(tmp_path / "k", name="a"))
    second = load_signer(
        create_signer_file(tmp_path / "k", name="a", algorithm=ALGORITHM_COSIGNATURE)
    )
    assert first.public_key != second.public_key
    assert second.algorithm == ALGORITHM_COSIGNATURE


def test_a_key_is_never_overwritten(key_file):
    """An existing key file is left as it is."""
    with pytest.raises(KeyExistsError):
        create_signer_file(key_file.parent, name=ORIGIN, secret=LOG_SECRET)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o700, 0o400, 0o4600])
def test_a_file_that_others_might_use_is_refused(key_file, mode):
    """log 20: a key file of another mode than 0600 is refused."""
    key_file.chmod(mode)
    with pytest.raises(KeyPermissionsError):
        load_signer(key_file)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o1700])
def test_a_directory_that_others_might_use_is_refused(key_file, mode):
    """A key directory of another mode than 0700 is refused, for reading and for writing."""
    key_file.parent.chmod(mode)
    with pytest.raises(KeyPermissionsError):
        load_signer(key_file)
    with pytest.raises(KeyPermissionsError):
        create_signer_file(key_file.parent, name="other")


def test_links_are_refused(key_file, tmp_path):
    """A symbolic link is refused, for the file and for the directory."""
    link = key_file.parent / "00000000.key"
    link.symlink_to(key_file)
    with pytest.raises(KeyPermissionsError):
        load_signer(link)
    folder = tmp_path / "link"
    folder.symlink_to(key_file.parent)
    with pytest.raises(KeyPermissionsError):
        load_signer(folder / key_file.name)


def test_special_files_are_refused(key_file):
    """A pipe is refused at once, without waiting for a writer."""
    pipe = key_file.parent / "00000000.key"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(KeyPermissionsError):
        load_signer(pipe)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_key_is_refused(key_file):
    """A key that belongs to another user is refused, whatever its mode."""
    os.chown(key_file, 65534, -1)
    with pytest.raises(KeyPermissionsError):
        load_signer(key_file)
    os.chown(key_file, 0, -1)
    os.chown(key_file.parent, 65534, -1)
    with pytest.raises(KeyPermissionsError):
        load_signer(key_file)


def test_a_missing_key_is_not_found(key_file, tmp_path):
    """A missing file, or directory, is told apart from a refused one."""
    for path in (key_file.parent / "11111111.key", tmp_path / "none" / "11111111.key"):
        with pytest.raises(KeyNotFoundError):
            load_signer(path)


def test_malformed_files_are_refused_without_showing_them(key_file):
    """What is no signer key, or bears another key's id, is refused; the error shows none of it."""
    sound = key_file.read_text()
    for text in ("", sound * 2, sound[:-4], sound.replace("37b1640e", "37b1640f"), "x" * 5000):
        key_file.write_text(text)
        with pytest.raises(MalformedKeyError) as caught:
            load_signer(key_file)
        secret = sound.strip().rpartition("+")[2]
        assert secret not in str(caught.value)
        assert None is caught.value.__cause__
    key_file.write_bytes(b"\xff" + sound.encode())
    with pytest.raises(MalformedKeyError):
        load_signer(key_file)


def test_the_secret_stays_out_of_the_repr():
    """A signer that is printed shows its public half alone."""
    assert repr(LOG_SECRET) not in repr(log_signer())


def test_kinds_of_keys_are_not_mixed():
    """A witness's key verifies no log, and a log's no cosignature."""
    for make, vkey in ((ed25519_verifier, WITNESS_VKEY), (cosignature_verifier, VKEY)):
        with pytest.raises(MalformedKeyError):
            make(vkey)


@pytest.mark.parametrize("vkey", ["", "a+b", VKEY[:-1], VKEY.replace("37b1640e", "37b1640f")])
def test_malformed_vkeys_are_refused(vkey):
    """What is not a vkey is refused."""
    with pytest.raises(MalformedKeyError):
        ed25519_verifier(vkey)


WEAK = [
    bytes(32),
    b"\x01" + bytes(31),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xed" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\xff",
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    b"\x02" + bytes(31),
    b"\xff" * 32,
    b"short",
]


@pytest.mark.parametrize("public_key", WEAK)
def test_weak_keys_are_refused(public_key):
    """log 2: keys of small order, in another spelling or off the curve are refused."""
    with pytest.raises(MalformedKeyError):
        check_public_key(public_key)
    key_id = make_key_id("a", algorithm=1, public_key=public_key)
    with pytest.raises(MalformedKeyError):
        ed25519_verifier(VerifierKey("a", key_id, 1, public_key))


def test_published_edge_cases():
    """log 2: of the published edge cases of Ed25519 none passes."""
    cases = json.loads((vector_path("ed25519") / "speccheck.json").read_text())
    assert len(cases) == 12
    passed = []
    for number, case in enumerate(cases):
        public_key = bytes.fromhex(case["pub_key"])
        try:
            check_public_key(public_key)
        except MalformedKeyError:
            continue
        if verify_signature(
            public_key, bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
        ):
            passed.append(number)
    assert passed == []


@given(st.binary(max_size=40), st.binary(max_size=70))
@settings(max_examples=50, deadline=None)
def test_verification_never_raises(message, signature):
    """Whatever is verified, the answer is yes or no, and yes for the key's own signature alone."""
    signer = make_signer(name="a", secret=LOG_SECRET)
    verifier = ed25519_verifier(signer.verifier_key)
    assert verifier.verify(message, signer.sign(message))
    assert (signature == signer.sign(message)) == verifier.verify(message, signature)
