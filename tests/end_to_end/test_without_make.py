"""A project where there is no make: the commands that its README names start the chat."""

import re
from pathlib import Path

import httpx
import pytest

from tests.new_user import NewUser, build_wheel

pytestmark = [pytest.mark.slow, pytest.mark.doors, pytest.mark.timeout(600)]


def test_the_commands_of_a_projects_readme_start_the_chat(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    user, wheel = NewUser(tmp_path / "home"), build_wheel(tmp_path / "wheels", tmp_path)
    told = user.run(
        f'python3 -m venv engine && engine/bin/pip install --quiet "{wheel}" && engine/bin/winterbourne new desk',
        tmp_path,
    )
    assert "what to type where there is no make" in told
    page = (tmp_path / "desk/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(python3 -m venv .*?)```", page, re.DOTALL)
    *before, run = block.splitlines()
    user.run("\n".join(before), tmp_path / "desk", WHEEL=str(wheel))
    with user.serving(tmp_path / "desk", f"{run} --port 0 --ready-file ready.json") as url:
        answer = httpx.post(f"{url}/chat", json={"messages": [{"role": "user", "content": "due_date"}]}, timeout=30)
    assert '"name":"due_date","status":"completed"' in answer.text
