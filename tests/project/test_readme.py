"""The README: its chat starts, and its table of commands is that of the Makefiles."""

import re

from tests.chat.processes import run
from tests.doc_pages import ROOT, blocks, read

CHOICE = {"AUTH": "none", "MODEL_PROVIDER": "scripted"}


def test_its_chat_starts() -> None:
    (code,) = (block.text for block in blocks("README.md") if block.language == "python")
    output = run(
        f"__file__ = {str(ROOT / 'functions/chat/app.py')!r}\n{code}\nprint(chat.settings.stream.max_turns)", **CHOICE
    )
    assert output.endswith("6")


def test_its_table_has_every_target_of_the_makefiles() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", read("Makefile") + read("development.mk"), re.MULTILINE))
    rows = set(re.findall(r"^\| `make ([a-z-]+)` \|", read("README.md"), re.MULTILINE))
    assert rows == targets - {"format", "clean", "help"}
