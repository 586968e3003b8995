"""Settings that the local server passes to a chat: the user's own, and defaults that run without AWS."""

from pathlib import Path

from tests.stack import ROOT
from winterbourne.chat.settings import VARIABLES, Settings
from winterbourne.local.chat_settings import is_chat, local_settings, user_settings


def test_a_chat_is_recognized_by_the_engine_it_uses(tmp_path: Path) -> None:
    assert is_chat(ROOT / "functions")
    assert not is_chat(tmp_path)
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "app.py").write_text("handler = None")
    assert not is_chat(tmp_path)


def test_every_setting_of_the_user_is_passed_on_and_nothing_else() -> None:
    environ = {**dict.fromkeys(VARIABLES, "x"), "PATH": "/bin", "HOME": "/h"}
    assert user_settings(environ).keys() == VARIABLES


def test_an_empty_variable_counts_as_unset() -> None:
    assert user_settings({"MODEL_ID": ""}) == {}


def test_everyone_may_call_and_all_processes_share_a_store(tmp_path: Path) -> None:
    settings = Settings.from_environment(local_settings(tmp_path))
    assert settings.auth.auth == "none"
    assert settings.storage.store == f"file:{tmp_path}/store.sqlite3"
