"""The built function answers 200 chats: its log and its metrics add up to what the clients received."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import emf, requirements
from tests.artifact import MACHINE, built
from tests.end_to_end.native_client import FIVE_TOOLS
from tests.local_server import local_server
from winterbourne.chat.infra import telemetry

pytestmark = [pytest.mark.slow, pytest.mark.doors]

CHATS = 200
AT_ONCE = 4
QUESTIONS = ["What is 12 * 7?", "What is 1 / 0?", "Hello", "fail halfway", "", "What time is it?", "count to 30"]


@dataclass
class ClientTotals:
    """What all clients received, added up."""

    answers: list[list[dict[str, Any]]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def terminal_events(self, kind: str) -> list[dict[str, Any]]:
        return [answer[-1] for answer in self.answers if answer[-1]["type"] == kind]

    def tools(self, *statuses: str) -> Counter[str]:
        frames = [frame for answer in self.answers for frame in answer if frame["type"] == "tool_call"]
        return Counter(frame["name"] for frame in frames if frame["status"] in statuses)

    def tokens(self, which: str) -> int:
        return sum(done["usage"][which] for done in self.terminal_events("done"))


@dataclass
class LogTotals:
    """What the function logged, added up."""

    lines: list[dict[str, Any]]

    def __post_init__(self) -> None:
        self.metrics = emf.checked(self.lines)
        self.totals = emf.totals(self.metrics)
        self.counts = emf.counts(self.metrics)
        self.requests = [line for line in self.lines if line.get("message") == "request"]

    def by_tool(self, name: str) -> Counter[str]:
        return Counter({tool: int(total) for (of, tool), total in self.totals.items() if of == name and total})


@pytest.fixture(scope="module")
def both(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ClientTotals, LogTotals]:
    folder = tmp_path_factory.mktemp("truth")
    artifact = built(run, MACHINE)
    flags = ["--task-root", str(artifact.function), "--opt", str(artifact.opt(folder / "opt"))]
    flags += ["--python", requirements.python("3.14"), "--concurrency", str(AT_ONCE)]
    with local_server(folder, *flags, "--env", "SCRIPTED_WORDS_PER_SECOND=0") as server:
        seen = _ask(server.url)
    return seen, LogTotals(list(_json_lines(server.log)))


def _ask(url: str) -> ClientTotals:
    seen = ClientTotals()
    questions = [FIVE_TOOLS if number % 10 == 0 else QUESTIONS[number % len(QUESTIONS)] for number in range(CHATS)]
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        for response in threads.map(lambda question: _post(client, url, question), questions):
            seen.statuses[response.status_code] += 1
            if response.status_code == httpx.codes.OK:
                data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
                seen.answers.append([json.loads(one) for one in data])
    return seen


def _post(client: httpx.Client, url: str, question: str) -> httpx.Response:
    messages = [{"role": "user", "content": question}] if question else []
    return client.post(f"{url}/chat", json={"messages": messages})


def _json_lines(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text().splitlines():
        start = line.find("{")
        if start >= 0 and line.endswith("}"):
            yield json.loads(line[start:])


class TestTheLog:
    def test_has_one_line_for_each_request(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        assert sum(seen.statuses.values()) == CHATS
        assert len({line["request_id"] for line in told.requests}) == len(told.requests) == CHATS

    def test_adds_up_to_the_turns_and_tokens_that_were_shown(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        finished = [line for line in told.requests if "error_type" not in line]
        assert sum(line["turns"] for line in finished) == sum(done["turns"] for done in seen.terminal_events("done"))
        assert sum(line["input_tokens"] for line in finished) == seen.tokens("input")
        assert sum(line["output_tokens"] for line in finished) == seen.tokens("output")

    def test_names_how_each_request_ended(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        reasons = Counter(line.get("stop_reason") for line in told.requests if "error_type" not in line)
        assert reasons == Counter(done["stop_reason"] for done in seen.terminal_events("done"))
        failed = Counter(line["error_type"] for line in told.requests if "error_type" in line)
        assert sum(failed.values()) == len(seen.terminal_events("error")) + seen.statuses[400]

    def test_has_a_line_for_each_tool_that_ran(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        messages = [str(line.get("message")) for line in told.lines]
        ran = Counter(
            message.split()[1]
            for message in messages
            if message.startswith("tool ")
            and any(how in message for how in ("executed in", "failed after", "timed out after"))
        )
        assert ran == seen.tools("completed", "failed", "timed_out")


class TestTheMetrics:
    def test_count_requests_errors_and_rejections_as_callers_do(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        assert told.totals["Requests", ""] == CHATS
        assert told.totals["Errors", ""] == len(seen.terminal_events("error")) > 0
        assert told.totals["Rejections", ""] == seen.statuses[400] > 0

    def test_count_chats_and_those_that_failed_as_callers_do(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        assert told.totals["Chats", ""] == told.counts["FailedChats", ""] == len(seen.answers)
        assert told.totals["FailedChats", ""] == len(seen.terminal_events("error"))

    def test_count_tools_as_callers_do(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        assert told.by_tool("ToolCalls") == seen.tools("completed", "failed", "timed_out")
        assert told.by_tool("ToolErrors") == seen.tools("failed")
        assert told.by_tool("ToolTimeouts") == seen.tools("timed_out")
        durations = Counter({tool: n for (name, tool), n in told.counts.items() if name == "ToolDuration"})
        assert durations == told.by_tool("ToolCalls")

    def test_add_up_to_the_tokens_that_were_shown(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        assert told.totals["InputTokens", ""] >= seen.tokens("input") > 0
        assert told.totals["OutputTokens", ""] >= seen.tokens("output") > 0

    def test_time_each_stream_once(self, both: tuple[ClientTotals, LogTotals]) -> None:
        seen, told = both
        spoke = [answer for answer in seen.answers if any(frame["type"] == "content" for frame in answer)]
        assert told.counts["StreamDuration", ""] == CHATS
        assert told.counts["TimeToFirstToken", ""] == len(spoke)

    def test_count_each_environment_that_started(self, both: tuple[ClientTotals, LogTotals]) -> None:
        _, told = both
        assert 1 <= told.totals["ColdStarts", ""] == told.counts["InitDuration", ""] <= AT_ONCE

    def test_are_in_the_one_namespace_under_the_one_service(self, both: tuple[ClientTotals, LogTotals]) -> None:
        _, told = both
        for document in told.metrics:
            (directive,) = document["_aws"]["CloudWatchMetrics"]
            assert directive["Namespace"] == telemetry.NAMESPACE
            assert document["service"] == telemetry.SERVICE
            assert {metric["Name"] for metric in directive["Metrics"]} <= set(telemetry.METRICS)
