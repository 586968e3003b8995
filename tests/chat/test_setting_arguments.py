"""`setting_arguments.pyi`, `option_arguments.pyi`: what type checkers know of settings and of a tool's options."""

from pathlib import Path

import pytest

from tests.chat import setting_arguments
from winterbourne.chat.settings import VARIABLES
from winterbourne.chat.tool_runtime.declaration import ToolOptions

COUNTS = {
    setting_arguments.SETTINGS: len(VARIABLES),
    setting_arguments.OPTIONS: len(ToolOptions.__struct_fields__) + 1,  # and the name
}


@pytest.mark.parametrize("path", COUNTS, ids=lambda path: path.stem)
def test_it_has_every_name_with_its_type(path: Path) -> None:
    text = path.read_text()
    assert text == setting_arguments.texts()[path], "run `python -m tests.chat.setting_arguments`"
    assert text.count(": ") == COUNTS[path]
