"""Bad requests: valid bodies with something changed, dropped or doubled, or bytes that are no JSON at all."""

import copy
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.local_server import local_server
from tests.soak.answers import PATHS, body, read
from tests.soak.progress import Outcome, Progress

__all__ = ["bad_requests"]

AT_ONCE = 4
ODD: list[Any] = [
    None,
    True,
    -1,
    1e308,
    0.5,
    "",
    " ",
    "\x00",
    "user",
    "tool",
    "\ud83d",
    [],
    {},
    [None],
    {"": ""},
    "x" * 300,
]
ROUTES = (
    "/",
    "/healthz",
    "/chat/c/stop",
    "/conversations",
    "/conversations/x",
    "/v1/models",
    "/api/chat/c/stream",
    "/%00",
)


def bad_requests(total: int, folder: Path, seed: int) -> Outcome:
    """Send `total` of them to every path."""
    outcome, progress = Outcome(f"{total} bad requests"), Progress("bad requests", total)
    flags = ("--concurrency", str(AT_ONCE), "--env", "SCRIPTED_WORDS_PER_SECOND=0", "--env", "MODEL_ID=any")
    with local_server(folder, *flags) as server, httpx.Client(base_url=server.url, timeout=60) as client:

        def send(number: int) -> str:
            chance = random.Random(f"{seed} {number}")
            path = PATHS[number % len(PATHS)]
            if chance.random() < 0.05:
                method, path = (
                    chance.choice(["GET", "PUT", "DELETE", "OPTIONS", "HEAD"]),
                    chance.choice([*ROUTES, path]),
                )
                response = client.request(method, path)
            else:
                content = _body(chance, path)
                response = client.post(path, content=content, headers={"content-type": "application/json"})
            progress.step()
            return _wrong(number, path, response)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            outcome.wrong += filter(None, threads.map(send, range(total)))
    return outcome


def _body(chance: random.Random, path: str) -> bytes:
    value: Any = body(path, "Hello")
    for _ in range(chance.randint(1, 3)):
        value = _changed(chance, value)
    data = json.dumps(value).encode()
    if chance.random() < 0.2:
        at = chance.randrange(len(data))
        data = chance.choice([data[:at], data[:at] + chance.randbytes(2) + data[at:], chance.randbytes(20)])
    return data


def _changed(chance: random.Random, value: Any) -> Any:
    """The same value with one thing in it changed, dropped, doubled or added."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or chance.random() < 0.15:
        return copy.deepcopy(chance.choice(ODD))
    key = chance.choice(keys)
    match chance.choice(["change", "change", "change", "drop", "double", "add"]):
        case "drop":
            del value[key]
        case "double" if isinstance(value, list):
            value.append(value[key])
        case "add" if isinstance(value, dict):
            value[chance.choice(["model", "tools", "store", "id", "role", "content", "parts", ""])] = copy.deepcopy(
                chance.choice(ODD)
            )
        case _:
            value[key] = _changed(chance, value[key])
    return value


def _wrong(number: int, path: str, response: httpx.Response) -> str:
    where = f"request {number}, {path}"
    if response.status_code >= 500:
        return f"{where}: {response.status_code} {response.text[:200]}"
    if (
        response.status_code == 200
        and path in PATHS
        and response.headers["content-type"].startswith("text/event-stream")
    ):
        _, ends = read(path, response.content)
        return "" if len(ends) == 1 else f"{where}: it ended with {ends}"
    return ""
