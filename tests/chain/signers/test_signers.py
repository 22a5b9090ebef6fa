"""What holds an account's key, or asks somebody who does."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
import traceback
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tallystick.chain.errors import InvalidSignerError, SigningFailedError, UnknownSignerError
from tallystick.chain.sender.transaction import UnsignedTransaction
from tallystick.chain.signers import Signer, Signers
from tallystick.chain.signers.signature import (
    ORDER,
    check_signature,
    normalise,
    payload_digest,
    transaction_hash,
)
from tallystick.config import ConfigError, EnvSigner, FileSigner, RemoteSigner, load_settings
from tests.support.evm import DEV_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT, OTHER = DEV_ACCOUNTS[:2]
PASSWORD = "correct horse battery staple"
PAYLOAD = b"\x02payload"
ADDRESSES = st.none() | st.binary(min_size=20, max_size=20).map(lambda each: "0x" + each.hex())


def signature_of(payload: bytes, key: str = ACCOUNT.key) -> bytes:
    """r, s, y by the library that the signers use, for the service of these tests."""
    from coincurve import PrivateKey

    secret = PrivateKey(bytes.fromhex(key[2:]))
    return secret.sign_recoverable(payload_digest(payload), hasher=None)


def public_key_of(key: str = ACCOUNT.key) -> str:
    """The public key as Web3Signer lists it."""
    from coincurve import PrivateKey

    public = PrivateKey(bytes.fromhex(key[2:])).public_key
    return "0x" + public.format(compressed=False)[1:].hex()


@contextlib.contextmanager
def web3signer(*, key: str = ACCOUNT.key, high_s: bool = False) -> Iterator[tuple[str, list[str]]]:
    """A small service with the route of Web3Signer's eth1 API; its URL and the paths asked."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            paths.append(self.path)
            if self.path != f"/signer/api/v1/eth1/sign/{public_key_of()}":
                self.answer(404, b"not found")
                return
            signature = signature_of(bytes.fromhex(body["data"][2:]), key)
            r, s, y = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
            if high_s:
                s, y = ORDER - s, 1 - y
            self.answer(200, f"0x{r.hex()}{s:064x}{27 + y:02x}".encode())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/signer", paths
        server.shutdown()


@contextlib.contextmanager
def remote(url: str, public_key: str = "") -> Iterator[Signer]:
    """The signer `hsm`, which asks the service at *url*."""
    setting = RemoteSigner(
        kind="remote", url=SecretStr(url), public_key=public_key or public_key_of()
    )
    signers = Signers({"hsm": setting})
    try:
        yield signers.get("hsm")
    finally:
        signers.close()


@pytest.fixture(scope="module")
def keystore(tmp_path_factory) -> Path:
    """A keystore of version 3, as geth and others write it, with a cheap key derivation."""
    from eth_account import Account

    path = tmp_path_factory.mktemp("keys") / "account.json"
    path.write_text(json.dumps(Account.encrypt(ACCOUNT.key, PASSWORD, kdf="pbkdf2", iterations=2)))
    return path


def test_a_keystore_signs_with_the_password_of_the_environment(keystore, monkeypatch):
    """A signer of kind file decrypts a keystore v3 and signs for its address."""
    monkeypatch.setenv("KEYSTORE_PASSWORD", PASSWORD)
    setting = FileSigner(kind="file", path=keystore, password_env="KEYSTORE_PASSWORD")
    signer = Signers({"main": setting}).of_account("main", ACCOUNT.address)
    (signature,) = signer.sign([PAYLOAD])
    assert signature == signature_of(PAYLOAD)
    assert check_signature(signature, payload=PAYLOAD, address=ACCOUNT.address) == signature


@pytest.mark.parametrize("text", [ACCOUNT.key, ACCOUNT.key[2:] + "\n"])
def test_a_key_may_stand_in_the_environment(monkeypatch, text):
    """A signer of kind env takes 64 hex digits, with 0x or without."""
    monkeypatch.setenv("ACCOUNT_KEY", text)
    signers = Signers({"main": EnvSigner(kind="env", key_env="ACCOUNT_KEY")})
    assert signers.get("main").address == ACCOUNT.address
    assert signers.get("main") is signers.get("main")


def test_web3signer_signs_by_its_public_key():
    """A signer of kind remote posts each payload to the route of its key, and takes v as y."""
    with web3signer() as (url, paths), remote(url + "/") as signer:
        signatures = signer.sign([b"one", b"two", b"three"])
    assert signatures == [signature_of(each) for each in (b"one", b"two", b"three")]
    assert set(paths) == {f"/signer/api/v1/eth1/sign/{public_key_of()}"}
    assert signer.address == ACCOUNT.address


def test_a_high_s_is_brought_to_the_low_half():
    """A service that answers the other of two signatures is taken, and low-s goes out."""
    with web3signer(high_s=True) as (url, _), remote(url) as signer:
        (signature,) = signer.sign([PAYLOAD])
    assert signature == signature_of(PAYLOAD)
    assert int.from_bytes(signature[32:64], "big") <= ORDER // 2


def test_another_keys_signature_is_refused():
    """What a service signs with another key never becomes a transaction."""
    with (
        web3signer(key=OTHER.key) as (url, _),
        remote(url) as signer,
        pytest.raises(SigningFailedError),
    ):
        signer.sign([PAYLOAD])


def test_a_service_that_refuses_or_is_away_is_a_named_error():
    """404 for a key that it has not, and no service at all, name the signer and no URL."""
    lacking = pytest.raises(SigningFailedError, match=r"^signer hsm answered 404$")
    with web3signer() as (url, _), remote(url, public_key_of(OTHER.key)) as signer, lacking:
        signer.sign([PAYLOAD])
    away = pytest.raises(SigningFailedError, match=r"^signer hsm did not answer: ConnectError$")
    with remote(url) as signer, away:
        signer.sign([PAYLOAD])


@pytest.mark.parametrize("body", ["[]", "17", '"x"', "{}", '{"version": 3}', "[" * 50_000])
def test_a_file_that_is_no_keystore_is_refused(tmp_path, monkeypatch, body):
    """Whatever stands in the file, the error names the signer and its path."""
    monkeypatch.setenv("KEYSTORE_PASSWORD", "secret")
    path = tmp_path / "keystore.json"
    path.write_text(body)
    setting = FileSigner(kind="file", path=path, password_env="KEYSTORE_PASSWORD")
    with pytest.raises(InvalidSignerError, match=r"signer main: .*no keystore"):
        Signers({"main": setting}).get("main")


def test_a_signer_signs_for_its_own_address_only(monkeypatch):
    """An account whose signer holds another key is refused before anything is signed."""
    monkeypatch.setenv("ACCOUNT_KEY", ACCOUNT.key)
    signers = Signers({"main": EnvSigner(kind="env", key_env="ACCOUNT_KEY")})
    with pytest.raises(InvalidSignerError):
        signers.of_account("main", OTHER.address)
    with pytest.raises(UnknownSignerError):
        signers.get("other")


def test_what_a_signer_needs_and_lacks_is_said_without_secrets(keystore, monkeypatch, tmp_path):
    """chain 19: No key, password or URL stands in an error, a repr or a traceback of a signer."""
    wrong = "not-the-password-of-it"
    monkeypatch.setenv("KEYSTORE_PASSWORD", wrong)
    monkeypatch.setenv("ACCOUNT_KEY", ACCOUNT.key + "0")
    monkeypatch.setenv("OTHER_KEY", "0x" + "ff" * 32)
    (tmp_path / "no.json").write_text('{"version": 3}')
    secret_url = "http://user:a-password-of-a-url@127.0.0.1:1"
    settings = {
        "a": FileSigner(kind="file", path=keystore, password_env="KEYSTORE_PASSWORD"),
        "b": FileSigner(kind="file", path=keystore, password_env="NOT_SET"),
        "c": FileSigner(kind="file", path=tmp_path / "no", password_env="KEYSTORE_PASSWORD"),
        "d": FileSigner(kind="file", path=tmp_path / "no.json", password_env="KEYSTORE_PASSWORD"),
        "e": EnvSigner(kind="env", key_env="ACCOUNT_KEY"),
        "f": EnvSigner(kind="env", key_env="OTHER_KEY"),
        "g": EnvSigner(kind="env", key_env="NOT_SET"),
        "h": RemoteSigner(kind="remote", url=SecretStr("ftp://x"), public_key="ab" * 64),
    }
    signers = Signers(settings)
    said = [repr(signers), repr(settings)]
    for name in settings:
        with pytest.raises(InvalidSignerError) as raised:
            signers.get(name)
        said += [str(raised.value), "".join(traceback.format_exception(raised.value))]
    with remote(secret_url) as away, pytest.raises(SigningFailedError) as failed:
        away.sign([PAYLOAD])
    said += [repr(away), "".join(traceback.format_exception(failed.value))]
    monkeypatch.setenv("ACCOUNT_KEY", ACCOUNT.key)
    said.append(repr(signers.get("e")))
    for secret in (wrong, ACCOUNT.key[2:], "ff" * 32, "a-password-of-a-url"):
        assert [each for each in said if secret in each] == []


def test_settings_name_signers_and_endpoints_and_show_no_secret(monkeypatch):
    """chain 19: The settings' own text, and the error of a wrong one, hold no credential."""
    monkeypatch.setenv("TALLY_CHAIN_ENDPOINTS", '{"1": ["https://u:hidden-word@host/"]}')
    signer = {"kind": "remote", "url": "https://hidden-word@host", "public_key": public_key_of()}
    monkeypatch.setenv("TALLY_CHAIN_SIGNERS", json.dumps({"hsm": signer}))
    settings = load_settings()
    assert settings.chain_endpoints[1][0].get_secret_value() == "https://u:hidden-word@host/"
    assert "hidden-word" not in repr(settings)
    monkeypatch.setenv(
        "TALLY_CHAIN_SIGNERS", json.dumps({"hsm": {**signer, "kind": "hidden-word"}})
    )
    with pytest.raises(ConfigError) as raised:
        load_settings()
    cause = "".join(traceback.format_exception(raised.value))
    assert re.search(r"chain_signers\.hsm", str(raised.value))
    assert "hidden-word@" not in cause


@given(
    to=ADDRESSES,
    value=st.integers(0, 2**256 - 1),
    nonce=st.integers(0, 2**64 - 1),
    chain_id=st.integers(1, 2**53 - 1),
    data=st.binary(max_size=80),
    tip=st.integers(0, 2**100),
)
def test_bytes_are_those_that_the_reference_library_signs(to, value, nonce, chain_id, data, tip):
    """chain 20: A transaction's bytes and hash equal eth-account's, whatever its numbers are."""
    from eth_account import Account

    ours = UnsignedTransaction(
        chain_id=chain_id,
        nonce=nonce,
        max_priority_fee_per_gas=tip,
        max_fee_per_gas=tip + 1,
        gas_limit=21_000,
        to=to,
        value=value,
        call_data=data,
    )
    fields = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "maxPriorityFeePerGas": tip,
        "maxFeePerGas": tip + 1,
        "gas": 21_000,
        "value": value,
        "data": data,
    }
    if to is not None:
        fields["to"] = bytes.fromhex(to[2:])
    theirs = Account.sign_transaction(fields, ACCOUNT.key)
    raw = ours.signed(signature_of(ours.payload()))
    assert raw == bytes(theirs.raw_transaction)
    assert transaction_hash(raw) == "0x" + theirs.hash.hex().removeprefix("0x")


@pytest.mark.parametrize("signature", [b"", b"\0" * 65, b"\0" * 64 + b"\5", b"\xff" * 65])
def test_what_is_no_signature_is_refused(signature):
    """Wrong lengths, parities and numbers end in SigningFailedError."""
    with pytest.raises(SigningFailedError):
        check_signature(signature, payload=PAYLOAD, address=ACCOUNT.address)


@given(st.binary(min_size=1, max_size=40))
def test_both_forms_of_a_signature_have_one_normal_form(payload):
    """The signature with the high s and v of 27 or 28 is the same as the one with the low s."""
    signature = signature_of(payload)
    s = int.from_bytes(signature[32:64], "big")
    high = signature[:32] + (ORDER - s).to_bytes(32, "big") + bytes([27 + 1 - signature[64]])
    assert normalise(high) == normalise(signature) == signature
