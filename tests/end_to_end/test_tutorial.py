"""`docs/tutorial.md`, followed to the letter by a new user who has the wheel and none of this repository."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.new_user import NewUser, build_wheel
from tests.stack import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.doors, pytest.mark.timeout(600)]

PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
STEPS = re.findall(r"(?:^`([^`\n]+)`\n\n)?^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
LOCAL = "http://127.0.0.1:3000"


def test_every_command_and_file_is_right(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "wheels", tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "empty").mkdir()
    user, folder, url = NewUser(tmp_path / "home"), tmp_path / "empty", ""
    asked, built, answer = 0, 0, ""
    with ExitStack() as running:
        for name, language, text in STEPS:
            if name:
                (folder / name).write_text(text)
            elif language == "sh" and text.startswith("curl"):
                answer = user.run(text.replace(LOCAL, url), folder)
                question = re.findall(r"\b[a-z]+_[a-z]+\b", text.split('"content":')[1])
                assert sorted(re.findall(r'"name":"(\w+)","status":"completed"', answer)) == sorted(question)
                assert '"type":"done"' in answer
                asked += 1
            elif language == "text":
                shown = [".*".join(map(re.escape, line.split("…"))) for line in text.splitlines()]
                assert [line for line in shown if not re.search(line, answer)] == []
            elif language == "sh" and "make run" in text:
                running.close()
                url = running.enter_context(user.serving(folder, text.strip()))
            elif language == "sh" and not text.startswith("# needs AWS\n"):
                command = text.replace(f"~/Downloads/{wheel.name}", str(wheel))
                folder = Path(user.run(f"{command}\npwd", folder).splitlines()[-1])
                built += "make build" in text
    assert (asked, built) == (2, 1)
    assert (folder / ".aws-sam/build/ChatFunction/chat/tools/gate_code.py").is_file()
    assert (folder / ".aws-sam/build/WinterbourneLayer/winterbourne").is_file()
    assert str(ROOT) not in (folder / "local.mk").read_text()


def test_every_target_it_names_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)\b", PAGE, re.MULTILINE)) - {"wheel"} <= targets


def test_only_commands_that_name_aws_need_it() -> None:
    commands = [text for name, language, text in STEPS if language == "sh"]
    assert [text for text in commands if re.search(r"^(aws|make deploy)", text, re.MULTILINE)] == [
        text for text in commands if text.startswith("# needs AWS\n")
    ]
