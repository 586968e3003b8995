"""`make upgrade`: a project of an older engine's, with everything in it that a user may write, goes on working."""

from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.new_user import NewUser, build_wheel
from winterbourne import __version__

pytestmark = [pytest.mark.slow, pytest.mark.doors, pytest.mark.timeout(600)]

NEWER: Final = "9.9.9"

OWN_FILES: Final = {
    "functions/chat/app.py": '''
"""A chat with a provider and a format of its own."""

from pathlib import Path

from chat import lines, parrot, tools
from winterbourne.chat import Chat

chat = Chat(
    tools=tools,
    instructions=Path(__file__).with_name("instructions.md"),
    providers={"parrot": parrot.make},
    formats=(lines.FORMAT,),
)
handler = chat.handler
''',
    "functions/chat/instructions.md": "Polly wants a cracker.\n",
    "functions/chat/parrot.py": '''
"""A model provider: repeats its instructions and, for `ring_bell`, calls that tool and repeats the result."""

from winterbourne.chat.core.events import TextDelta, ToolCallReady, ToolCallStarted, TurnEnded
from winterbourne.chat.core.messages import ToolMessage


class Parrot:
    name = "parrot"
    takes_image_urls = True

    async def stream(self, request, /):
        last = request.messages[-1]
        if isinstance(last, ToolMessage):
            yield [TextDelta(f"{request.system} {last.content}"), TurnEnded("stop")]
        else:
            call = ("call_1", "ring_bell")
            yield [ToolCallStarted(*call), ToolCallReady(*call, "{}"), TurnEnded("tool_calls")]


def make(settings):
    return Parrot()
''',
    "functions/chat/lines.py": '''
"""A wire format: a question in, lines of text out."""

from winterbourne.chat import ChatRequest, Format
from winterbourne.chat.core.events import ConversationEnded, TextDelta
from winterbourne.chat.core.messages import Text, UserMessage


class Lines:
    status = 200
    headers = {"content-type": "text/plain"}
    heartbeat = b""

    def encode(self, batch, /):
        texts = [event.text for event in batch if isinstance(event, TextDelta)]
        texts += ["\\nover and out" for event in batch if isinstance(event, ConversationEnded)]
        return "".join(texts).encode()


def decode(body):
    return ChatRequest(messages=(UserMessage((Text(body["ask"]),)),)), Lines()


FORMAT = Format("/lines", decode, lambda status, code, message, request_id: ("text/plain", message.encode()))
''',
    "functions/chat/tools/ring_bell.py": '''
"""A tool with a key, and with a package of its own."""

import inflect

from winterbourne.chat import ToolContext, tool


@tool(keys=["BELL_KEY"])
async def ring_bell(context: ToolContext) -> str:
    """Ring the bell."""
    return inflect.engine().number_to_words(len(await context.key("BELL_KEY")))
''',
    "layers/dependencies/requirements.in": "inflect\n",
    "samconfig.toml": "# mine\nversion = 0.1\n[dev.build.parameters]\nparallel = true\n",
    "tests/test_chat.py": "def test_nothing():\n    pass\n",
}


def answer(url: str) -> str:
    response = httpx.post(f"{url}/lines", json={"ask": "ring_bell"}, timeout=30)
    assert response.status_code == 200, response.text
    return response.text


def files(project: Path) -> dict[str, bytes]:
    """All that an upgrade must leave alone: what is in the project but not made by its Makefile."""
    made = {".venv", ".aws-sam", "__pycache__", "requirements.txt", "ready.json", "screen.log", "local.log"}
    found = [path for path in project.rglob("*") if path.is_file() and not made & set(path.parts)]
    return {str(path.relative_to(project)): path.read_bytes() for path in found}


def test_leaves_the_users_files_alone_and_the_chat_working(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    user, wheels, project = NewUser(tmp_path / "home"), tmp_path / "wheels", tmp_path / "our chat"
    first = build_wheel(wheels, tmp_path)
    user.run(f'python3 -m venv engine && engine/bin/pip install --quiet "{first}"', tmp_path)
    user.run("engine/bin/winterbourne new 'our chat'", tmp_path)
    for name, text in OWN_FILES.items():
        (project / name).write_text(text.lstrip())
    user.run("make lock", project)
    start = "MODEL_PROVIDER=parrot BELL_KEY=abcd make run"
    with user.serving(project, start) as url:
        assert answer(url) == 'Polly wants a cracker. "four"\nover and out'
    assert user.run(".venv/bin/winterbourne --version", project) == f"winterbourne {__version__}\n"
    before = files(project)

    build_wheel(wheels, tmp_path, NEWER)
    user.run("make upgrade", project)

    assert files(project) == before
    assert (project / "requirements.txt").read_text().startswith(f"winterbourne[chat,local]=={NEWER} --hash=sha256:")
    assert user.run(".venv/bin/winterbourne --version", project) == f"winterbourne {NEWER}\n"
    with user.serving(project, start) as url:
        assert answer(url) == 'Polly wants a cracker. "four"\nover and out'
    user.run("make build", project)  # by the older template and Makefiles
    built = project / ".aws-sam" / "build"
    assert (built / "WinterbourneLayer" / "python" / f"winterbourne-{NEWER}.dist-info").is_dir()
    assert (built / "DependenciesLayer" / "python" / "inflect" / "__init__.py").is_file()
    assert not list((built / "DependenciesLayer" / "python").glob("h11*")), "the engine's layer has it"
    patch = user.run(".venv/bin/winterbourne new --diff || test $? = 1", project)
    assert patch.startswith(f"# From winterbourne {__version__} to {NEWER}\n")
    assert f"-    Version: {__version__}\n+    Version: {NEWER}\n" in patch
    assert "-# mine\n" in patch
