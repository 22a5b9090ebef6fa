"""Settings that are wrong stop the start: nothing falls back silently (log.md, 6.4, 7.18)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.cli import run
from tallystick.config import Settings, load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with no tally.toml but the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["up", "init", "migrate", "serve", "worker", "status"])
@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("TALLY_PORT", "seventy", "port"),
        ("TALLY_PORT", "70000", "port"),
        ("TALLY_SEQUENCERS", "0", "sequencers"),
        ("TALLY_LOG_LEVEL", "loud", "log_level"),
        ("TALLY_ORIGIN_PREFIX", "a b", "origin_prefix"),
        ("TALLY_PROT", "7421", "TALLY_PROT"),
    ],
)
def test_bad_setting_stops_every_command(
    command: str,
    variable: str,
    value: str,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A value that does not parse, or a name that does not exist, ends each command with 2."""
    monkeypatch.setenv(variable, value)
    assert run([command]) == 2
    err = capsys.readouterr().err
    assert err.startswith("tally: config: ")
    assert named in err


@pytest.mark.parametrize("text", ["port = 'x'\n", "prot = 1\n", "port = \n", "[port]\nx = 1\n"])
def test_bad_file_stops_the_start(elsewhere: Path, text: str) -> None:
    """A tally.toml that is no TOML, or says something unknown or wrong, ends with 2."""
    (elsewhere / "tally.toml").write_text(text)
    assert run(["status"]) == 2


def test_options_win_over_environment_over_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option wins over the environment, and that over tally.toml."""
    (elsewhere / "tally.toml").write_text("port = 1001\nhost = 'a'\nsequencers = 3\n")
    monkeypatch.setenv("TALLY_PORT", "1002")
    monkeypatch.setenv("TALLY_HOST", "b")
    settings = load_settings(port=1003, host=None)
    assert (settings.port, settings.host, settings.sequencers) == (1003, "b", 3)


def test_bad_option_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is no number is refused by the command line itself."""
    assert run(["up", "--port", "seventy"]) == 2
    assert capsys.readouterr().err.startswith("tally: usage: ")


def test_no_secret_is_a_setting() -> None:
    """No setting is for a private key or a password of its own: those are files."""
    names = set(Settings.model_fields)
    assert not {name for name in names if "secret" in name or "password" in name}
