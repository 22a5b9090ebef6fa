"""The keys of accounts on the dev chain."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from eth_account import Account

from tallystick.record import KeyPermissionsError, MalformedKeyError
from tallystick.runtime.devchain.accounts import address_of, key_path, load_or_create_key


def test_a_key_is_made_once_and_kept(tmp_path):
    """A key is made where there is none, is its owner's alone, and stays."""
    key = load_or_create_key(tmp_path / "keys", "faucet")
    path = key_path(tmp_path / "keys", "faucet")
    assert (32, key) == (len(key), load_or_create_key(tmp_path / "keys", "faucet"))
    assert (0o600, 0o700) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)
    assert Account.from_key(key).address.lower() == address_of(key)


def test_processes_that_start_together_share_one_key(tmp_path):
    """However many make a key at once, one is kept and all of them have it."""
    with ThreadPoolExecutor(16) as threads:
        keys = set(threads.map(lambda _: load_or_create_key(tmp_path, "anchor"), range(64)))
    assert (1, [key_path(tmp_path, "anchor")]) == (len(keys), list(tmp_path.iterdir()))


def test_a_key_that_others_can_read_is_refused(tmp_path):
    """A key file that is open to others is not used."""
    load_or_create_key(tmp_path, "anchor")
    key_path(tmp_path, "anchor").chmod(0o640)
    with pytest.raises(KeyPermissionsError):
        load_or_create_key(tmp_path, "anchor")


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33, "é"])
def test_a_file_that_holds_no_key_is_refused(tmp_path, text):
    """What is no key is never taken for one, nor replaced."""
    path = key_path(tmp_path, "anchor")
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(MalformedKeyError):
        load_or_create_key(tmp_path, "anchor")
    assert text == path.read_text()
