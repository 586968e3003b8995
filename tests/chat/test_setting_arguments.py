"""`setting_arguments.pyi`: what type checkers know of the settings that `Chat` and `ToolWorker` take."""

from tests.chat import setting_arguments
from winterbourne.chat.settings import VARIABLES


def test_it_has_every_setting_with_its_type() -> None:
    text = setting_arguments.FILE.read_text()
    assert text == setting_arguments.text(), "run `python -m tests.chat.setting_arguments`"
    assert text.count(": ") == len(VARIABLES)
