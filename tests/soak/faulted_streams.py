"""Faulted streams: whatever a provider's stream does, every word it had said arrives, and one terminal event."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import httpx

from tests.local_server import local_server
from tests.soak.answers import PATHS, body, read
from tests.soak.faulty_provider import FAMILIES, FaultyProvider, faulty_provider
from tests.soak.progress import Outcome, Progress

__all__ = ["faulted_streams"]

AT_ONCE = 4


def faulted_streams(total: int, folder: Path, seed: int) -> Outcome:
    """Ask `total` questions over all families and formats."""
    outcome, progress = Outcome(f"{total} faulted streams"), Progress("faulted streams", total)
    with faulty_provider(seed) as provider, _chats(provider, folder) as urls, httpx.Client(timeout=60) as client:

        def ask(number: int) -> str:
            path, url = PATHS[number % len(PATHS)], urls[number // len(PATHS) % len(urls)]
            response = client.post(url + path, json=body(path, f"question {number}"))
            progress.step()
            return _wrong(provider, number, path, response)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            outcome.wrong += filter(None, threads.map(ask, range(total)))
    return outcome


def _wrong(provider: FaultyProvider, number: int, path: str, response: httpx.Response) -> str:
    """What is wrong with this answer."""
    said, fault = provider.said.get(number, ([], "never asked"))
    where = f"question {number}, {path}, {fault} after {len(said)} words"
    if response.status_code != 200:  # an answer that failed before its first word may have a status of its own
        return "" if not said and fault != "none" and path.startswith("/v1") else f"{where}: {response.status_code}"
    words, ends = read(path, response.content)
    if words != "".join(said):
        return f"{where}: {words!r} arrived"
    return "" if ends == ["end" if fault == "none" else "error"] else f"{where}: it ended with {ends}"


@contextmanager
def _chats(provider: FaultyProvider, folder: Path) -> Iterator[list[str]]:
    """The URL of a chat for each family."""
    with ExitStack() as stack:
        urls = []
        for family, at in zip(FAMILIES, count()):
            home = folder / f"faulted-{at}"
            home.mkdir()
            settings = {"MODEL_PROVIDER": family, f"{family.upper()}_BASE_URL": provider.url, "MODEL_ID": "any"}
            settings |= {
                "OPENAI_API_KEY": "unused",
                "ANTHROPIC_API_KEY": "unused",
                "AWS_BEARER_TOKEN_BEDROCK": "unused",
            }
            flags = [flag for name, value in settings.items() for flag in ("--env", f"{name}={value}")]
            urls.append(stack.enter_context(local_server(home, "--concurrency", "2", *flags)).url)
        yield urls
