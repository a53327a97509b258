"""Whether a run is tracked online is what the user told W&B, in any of its ways."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from trm.errors import TrmError
from trm.training.tracking import require_login, wandb_mode


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user of W&B who is logged in, in a folder of their own."""
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # forgets the settings that it has read


def settings_file(folder: Path, mode: str) -> None:
    folder.mkdir(parents=True)
    (folder / "settings").write_text(f"[default]\nmode = {mode}\n")


@pytest.mark.parametrize("mode", ["offline", "disabled", "online"])
@pytest.mark.parametrize("place", ["wandb", ".wandb", "home/.config/wandb", "conf"])
def test_a_settings_file_is_obeyed(home: Path, monkeypatch, place: str, mode: str) -> None:
    if place == "conf":
        monkeypatch.setenv("WANDB_CONFIG_DIR", str(home / "conf"))
    settings_file(home / place, mode)
    assert wandb_mode("auto") == mode
    assert wandb_mode("online") == "online"  # what the command says goes before
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode("auto") == "offline"  # and so does the environment


def test_a_settings_file_without_a_mode_says_nothing(home: Path, monkeypatch) -> None:
    (home / "wandb").mkdir()
    (home / "wandb" / "settings").write_text("[default]\nbase_url = https://example.org\n")
    assert wandb_mode("auto") == "online"
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(home / "none"))
    assert wandb_mode("auto") == "offline"


@pytest.mark.parametrize(
    ("asked", "mode"),
    [
        ("online", "online"),
        ("run", "online"),
        ("offline", "offline"),
        ("dryrun", "offline"),
        ("disabled", "disabled"),
        ("shared", "shared"),
    ],
)
def test_the_environment_s_modes_are_those_of_wandb(monkeypatch, asked: str, mode: str) -> None:
    monkeypatch.setenv("WANDB_MODE", asked)
    assert wandb_mode("auto") == mode
    require_login("auto")


@pytest.mark.parametrize("asked", ["", "OFFLINE", "foo"])
def test_another_mode_is_one_line(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("WANDB_MODE", asked)
    for setting in ("auto", "offline"):
        with pytest.raises(TrmError, match=f"^WANDB_MODE='{asked}' is not a mode of W&B: set onl"):
            require_login(setting)
    assert wandb_mode("disabled") == "disabled"


def test_online_without_a_login_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    require_login("online")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    require_login("auto")
    with pytest.raises(TrmError, match="wandb login"):
        require_login("online")
    (home / "netrc").write_text("machine 127.0.0.1:9 login user password key\n")
    require_login("online")


@pytest.mark.parametrize("value", ["true", "TRUE", "1"])
def test_disabled_in_the_environment(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WANDB_DISABLED", value)
    assert wandb_mode("auto") == "disabled"
    assert wandb_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_DISABLED", "false")
    assert wandb_mode("auto") == "online"


def test_settings_that_wandb_cannot_read_are_one_line(home: Path, monkeypatch) -> None:
    settings_file(home / "wandb", "offline")
    monkeypatch.setenv("WANDB_CONSOLE", "nonsense")
    with pytest.raises(TrmError, match="the settings of W&B cannot be read .*console") as refused:
        wandb_mode("auto")
    assert "\n" not in str(refused.value)


def test_nothing_is_imported_where_nothing_is_said(home: Path) -> None:
    code = (
        "import sys; from trm.training.tracking import wandb_mode; "
        "print(wandb_mode('auto'), *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env={"PYTHONPATH": str(ROOT), "WANDB_API_KEY": "k"},
        capture_output=True,
        text=True,
        check=True,
    )
    mode, *modules = done.stdout.split()
    assert mode == "online" and "wandb" not in modules and "torch" not in modules
