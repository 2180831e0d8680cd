"""Keys from files and the environment; addresses that need one."""

import pytest

from ernie_search.errors import SettingsError
from ernie_search.serve.settings import KeyRing, is_loopback, make_settings, read_keys

KEY = "0123456789abcdef"


def test_keys_of_file_and_environment(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}-a\n\n  {KEY}-b  \n")
    assert read_keys(file, {"ERNIE_SEARCH_API_KEYS": f"{KEY}-c,{KEY}-a"}) == (
        f"{KEY}-a",
        f"{KEY}-b",
        f"{KEY}-c",
    )
    assert read_keys(None, {}) == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "0123456789 abcdef0\n", "é" * 20])
def test_files_without_a_usable_key_are_refused_without_showing_it(tmp_path, text):
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_keys(file, {})
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="keys"):
        read_keys(tmp_path / "keys", {})


def test_the_ring_holds_its_keys_only():
    ring = KeyRing([KEY, f"{KEY}x"])
    assert ring
    assert ring.holds(KEY.encode())
    assert ring.holds(f"{KEY}x".encode())
    assert not ring.holds(b"")
    assert not ring.holds(KEY[:-1].encode())
    assert not KeyRing([])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "search.example"])
def test_addresses_that_others_reach_need_a_key(host):
    with pytest.raises(SettingsError, match="--api-key-file"):
        make_settings(host=host)
    assert make_settings(host=host, keys=(KEY,)).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_none(host):
    assert is_loopback(make_settings(host=host).host)


def test_settings_do_not_show_their_keys():
    assert KEY not in repr(make_settings(keys=(KEY,)))


def test_a_wrong_setting_is_one_line():
    with pytest.raises(SettingsError, match=r"limits\.k"):
        make_settings(limits={"k": 0})
