"""The servers of the recorded cases: the project under each configuration.

The only module that knows where the function is; all others use HTTP.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx

from tests.local_server import ROOT, LocalServer, local_server
from tests.recorded.provider import Provider
from tests.recorded.transcript_client import TranscriptClient

__all__ = ["COMMON", "ENGINE", "FUNCTIONS", "HOME", "KEYS", "SERVERS", "Servers", "running", "transcript_client"]

HOME: Final = Path(__file__).parent
FUNCTIONS: Final = ROOT / "functions"
ENGINE: Final = ROOT / "layers" / "winterbourne" / "python" / "winterbourne" / "chat"
TOOLS: Final = Path("chat/tools")
KEYS: Final = json.dumps({"alice": "made-up-alice", "bob": "made-up-bob"})

Settings = Mapping[str, str]

COMMON: Final[Settings] = {
    "AUTH": "api_key",
    "API_KEYS": KEYS,
    "MAX_TURNS": "3",
    "MODEL_CHOICES": "small,large",
    "TITLE_MODEL": "off",  # one comes when it comes, among the requests of other cases
    "STOP_POLL_INTERVAL": "0.05",
    "SYSTEM_PROMPT": "Be brief.",
    "TOOL_CACHE_BYTES": "1",  # nothing fits: a result of an earlier case would come before others that need a run
    "TOOL_MAX_RESULT_BYTES": "512",
}

VENDORS: Final[Mapping[str, Settings]] = {
    "openai": {"OPENAI_BASE_URL": "{}/v1", "OPENAI_API_KEY": "made-up"},
    "anthropic": {"ANTHROPIC_BASE_URL": "{}", "ANTHROPIC_API_KEY": "made-up"},
    "bedrock": {"BEDROCK_BASE_URL": "{}", "AWS_BEARER_TOKEN_BEDROCK": "made-up", "BEDROCK_REGION": "eu-west-1"},
}

ISSUERS: Final[Mapping[str, Settings]] = {
    "jwt": {
        "JWT_ISSUER": "https://issuer.example",
        "JWT_AUDIENCE": "chat",
        "JWT_JWKS_URL": "{}/keys",
        "JWT_SCOPE": "chat",
    }
}

SERVERS: Final[Mapping[str, Settings]] = {
    "openai": {"MODEL_PROVIDER": "openai", **COMMON},
    "anthropic": {"MODEL_PROVIDER": "anthropic", **COMMON},
    "bedrock": {"MODEL_PROVIDER": "bedrock", **COMMON},
    "strict": {
        "MODEL_PROVIDER": "openai",
        **COMMON,
        "LIMIT_REQUESTS_PER_MINUTE": "1",
        "MAX_BODY_BYTES": "600",
        "MAX_CLIENT_TOOLS": "1",
        "MAX_IMAGES": "1",
        "MAX_JSON_DEPTH": "8",
        "MAX_MESSAGES": "3",
        "MAX_MESSAGE_CHARS": "40",
    },
    "quick_last": {"MODEL_PROVIDER": "openai", **COMMON, "HEARD_FIRST": "source"},
    "openai_at_once": {"MODEL_PROVIDER": "openai", **COMMON},
    "anthropic_at_once": {"MODEL_PROVIDER": "anthropic", **COMMON},
    "bedrock_at_once": {"MODEL_PROVIDER": "bedrock", **COMMON},
    "storeless": {"MODEL_PROVIDER": "openai", **COMMON, "STORE": "file:/nowhere/chat.sqlite3"},
    "iam": {"MODEL_PROVIDER": "openai", **COMMON, "AUTH": "iam"},
    "jwt": {"MODEL_PROVIDER": "openai", **COMMON, "AUTH": "jwt"},
    "jwt_keyless": {"MODEL_PROVIDER": "openai", **COMMON, "AUTH": "jwt", "JWT_JWKS_URL": "http://127.0.0.1:9/keys"},
    "beating": {"MODEL_PROVIDER": "openai", **COMMON, "HEARTBEAT_INTERVAL": "1"},
    "hurried": {"MODEL_PROVIDER": "openai", **COMMON, "DEADLINE_MARGIN": "2"},
    "misset": {"MODEL_PROVIDER": "openai", **COMMON},
    "cors": {"MODEL_PROVIDER": "openai", **COMMON},
}

AT_ONCE: Final = ("--managed-instances", "4")
FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai_at_once": AT_ONCE,
    "anthropic_at_once": AT_ONCE,
    "bedrock_at_once": AT_ONCE,
    "hurried": ("--concurrency", "2", "--timeout", "3"),
    "cors": ("--cors-template", str(ROOT / "template.yaml"), "--cors-allow-origin", "https://example.com"),
}
"""Flags of the servers that differ from the default; those `at_once` serve several requests in one process."""


class Servers:
    """The servers by their names, each started when it is first asked for.

    Args:
        folder: For their files.
        provider: The provider they call.
    """

    def __init__(self, folder: Path, provider: Provider) -> None:
        self._folder = folder
        self._provider = provider
        self._running: dict[str, LocalServer] = {}
        self._clients: dict[str, TranscriptClient] = {}
        self._stack = contextlib.ExitStack()

    def client(self, name: str) -> TranscriptClient:
        """A transcript client for one of them."""
        if name not in self._clients:
            self._clients[name] = transcript_client(self.server(name), self._provider)
        return self._clients[name]

    def server(self, name: str) -> LocalServer:
        """One of them, running."""
        if name not in self._running:
            folder = self._folder / name
            folder.mkdir()
            flags = FLAGS.get(name, ("--concurrency", "2"))
            starting = running(folder, SERVERS[name], self._provider, *flags)
            self._running[name] = self._stack.enter_context(starting)
            if name == "misset":
                _misset(folder / "functions/chat/app.py")
        return self._running[name]

    def close(self) -> None:
        """Stop them all."""
        self._stack.close()


@contextlib.contextmanager
def running(folder: Path, settings: Settings, provider: Provider, *flags: str) -> Iterator[LocalServer]:
    """Run the function with the tools of the cases added to its own, and the provider in place of its vendor."""
    others = {**VENDORS[settings["MODEL_PROVIDER"]], **ISSUERS.get(settings["AUTH"], {})}
    vendor_settings = {name: value.format(provider.url) for name, value in others.items()}
    variables = [
        flag for name, value in {**vendor_settings, **settings}.items() for flag in ("--env", f"{name}={value}")
    ]
    root = str(_with_our_tools(folder))
    with local_server(folder, "--no-practice", "--invoke-port", "0", "--task-root", root, *variables, *flags) as server:
        yield server


def transcript_client(server: LocalServer, provider: Provider) -> TranscriptClient:
    """A client for a running server that knows the server's tools; none if it cannot start."""
    answer = httpx.get(f"{server.url}/readyz", timeout=30)
    tools = answer.json()["tools"] if answer.is_success else ()
    return TranscriptClient(server.url, provider, frozenset(tools), server.invoke_url)


def _misset(app: Path) -> None:
    """Give the function a setting with which it cannot start; the server would not have started with it either."""
    app.write_text(f'import os\n\nos.environ["MAX_TURNS"] = "several"\n{app.read_text()}')


def _with_our_tools(folder: Path) -> Path:
    task_root = folder / "functions"
    shutil.copytree(FUNCTIONS, task_root, ignore=shutil.ignore_patterns("__pycache__"))
    for module in sorted((HOME / "tools").glob("*.py")):
        shutil.copy(module, task_root / TOOLS)
    return task_root
