"""Traces of whole requests: what a collector gets, when it gets it, and whose spans outgoing requests are part of."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

import pytest

from tests.chat.http_events import RecordedResponse, event, handle
from tests.chat.test_app import make_service, ring_bell
from tests.clock import jumping
from tests.collector import Collector, Span, collector
from tests.upstream import Exchange, Script, Upstream, failing, saying, upstream
from winterbourne import Response
from winterbourne.chat import ToolContext, ToolError
from winterbourne.chat.errors import ChatError, StorageUnavailable
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra import redaction
from winterbourne.chat.tool_runtime.declaration import Tool, tool

pytestmark = pytest.mark.usefixtures("own_hooks")

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
QUESTION = {"messages": [{"role": "user", "content": "what is the word?"}]}

CONVENTIONS = {
    "invoke_agent": {
        "required": {"gen_ai.operation.name", "gen_ai.provider.name"},
        "known": {
            *("gen_ai.agent.name", "gen_ai.conversation.id", "gen_ai.request.model", "gen_ai.response.finish_reasons"),
            *("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "error.type"),
            *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_write.input_tokens"),
            *("gen_ai.usage.reasoning.output_tokens", "gen_ai.input.messages", "gen_ai.output.messages"),
        },
    },
    "chat": {
        "required": {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address"},
        "known": {
            *("gen_ai.conversation.id", "gen_ai.request.stream", "gen_ai.request.max_tokens", "server.port"),
            *("gen_ai.request.temperature", "gen_ai.request.top_p", "gen_ai.request.seed", "error.type"),
            *("gen_ai.request.stop_sequences", "gen_ai.request.reasoning.level", "gen_ai.request.presence_penalty"),
            *("gen_ai.request.frequency_penalty", "gen_ai.response.finish_reasons", "gen_ai.response.model"),
            *("gen_ai.response.time_to_first_chunk", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
            *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_write.input_tokens"),
            *("gen_ai.usage.reasoning.output_tokens", "http.request.resend_count"),
        },
    },
    "execute_tool": {
        "required": {"gen_ai.operation.name", "gen_ai.tool.name"},
        "known": {
            *("gen_ai.tool.call.id", "gen_ai.tool.type", "gen_ai.conversation.id", "error.type"),
            *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
        },
    },
}
"""https://github.com/open-telemetry/semantic-conventions-genai/tree/main/docs/gen-ai, v0.1.0: client-inference.md,
gen-ai-agent-spans.md and execute-tool.md; the count of attempts is HTTP's."""


def chunk(**delta: object) -> bytes:
    return b"data: %b\n\n" % json.dumps({"model": "m-1", "choices": [{"index": 0, "delta": delta}]}).encode()


def ending(reason: str) -> bytes:
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}
    last = {"model": "m-1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage}
    return b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(last).encode()


def calling(*names: str) -> Script:
    calls = [
        {"index": at, "id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for at, name in enumerate(names)
    ]
    return saying(b"".join(chunk(tool_calls=[call]) for call in calls) + ending("tool_calls"))


ANSWER = saying(chunk(role="assistant", content="sesame") + ending("stop"))


@contextlib.asynccontextmanager
async def traced(
    *tools: Tool, scripts: Iterable[Script] = (ANSWER,), into: Collector | None = None, **settings: object
) -> AsyncIterator[tuple[Service, Collector, Upstream]]:
    """A chat whose model answers as the scripts say, and the collector of its traces."""
    async with contextlib.AsyncExitStack() as stack:
        found = await stack.enter_async_context(collector()) if into is None else into
        provider = await stack.enter_async_context(upstream(*scripts))
        named = {"model_provider": "openai", "model_id": "m-1", "openai_base_url": f"{provider.url}/v1"}
        values = {**named, "otel_exporter_otlp_endpoint": found.url, "service_name": "desk", **settings}
        yield make_service(*tools, **values), found, provider


async def ask(service: Service, body: object = None, response: RecordedResponse | None = None, **headers: str) -> Any:
    response = response or RecordedResponse()
    await handle(service, event("POST", "/chat", body or QUESTION, headers), response)
    return response


def traceparent_of(span: Span) -> str:
    return f"00-{span.trace_id}-{span.span_id}-01"


def sent_traceparents(server: Upstream) -> list[str]:
    return [exchange.headers.get("traceparent", "") for exchange in server.requests]


class TestSpans:
    async def test_an_answer_is_a_request_an_agent_and_its_turns_and_tools(self) -> None:
        async with traced(ring_bell, scripts=(calling("ring_bell"), ANSWER)) as (service, found, _):
            await ask(service)
        request, agent, first, call, second = found.spans
        assert [(span.name, span.kind) for span in found.spans] == [
            ("POST /chat", "server"),
            ("invoke_agent desk", "internal"),
            ("chat m-1", "client"),
            ("execute_tool ring_bell", "internal"),
            ("chat m-1", "client"),
        ]
        assert len({span.trace_id for span in found.spans}) == 1
        assert (request.parent_id, agent.parent_id) == ("", request.span_id)
        assert {span.parent_id for span in (first, call, second)} == {agent.span_id}
        assert {span.service for span in found.spans} == {"desk"}
        assert not any(span.has_failed for span in found.spans)
        assert request.started_ns <= agent.started_ns <= first.started_ns <= call.started_ns <= second.started_ns
        assert second.ended_ns <= agent.ended_ns <= request.ended_ns

    async def test_attributes_are_those_of_the_conventions(self) -> None:
        asked = {**QUESTION, "temperature": 0.5, "max_tokens": 99, "conversation_id": "c-1"}
        async with traced(ring_bell, scripts=(calling("ring_bell"), ANSWER), log_messages=True) as (service, found, _):
            await ask(service, asked)
        for span in found.spans[1:]:
            convention, names = CONVENTIONS[span.name.split()[0]], {*span.attributes}
            assert names >= convention["required"]
            assert {name for name in names if not name.startswith("winterbourne.")} <= (
                convention["known"] | convention["required"]
            )
            assert span.attributes["gen_ai.conversation.id"] == "c-1"
        _, agent, first, call, last = (span.attributes for span in found.spans)
        assert (agent["gen_ai.usage.input_tokens"], agent["gen_ai.usage.output_tokens"]) == (40, 10)
        assert (last["gen_ai.usage.input_tokens"], last["gen_ai.usage.cache_read.input_tokens"]) == (20, 8)
        assert (first["gen_ai.response.finish_reasons"], last["gen_ai.response.finish_reasons"]) == (
            ["tool_calls"],
            ["stop"],
        )
        assert (first["gen_ai.request.temperature"], first["gen_ai.request.max_tokens"]) == (0.5, 99)
        assert (first["gen_ai.provider.name"], first["gen_ai.response.model"]) == ("openai", "m-1")
        assert first["server.address"] == "127.0.0.1"
        assert first["gen_ai.response.time_to_first_chunk"] > 0
        assert (call["gen_ai.tool.name"], call["gen_ai.tool.call.id"]) == ("ring_bell", "call_0")

    async def test_the_log_line_of_a_request_names_its_trace(self, capsys: pytest.CaptureFixture[str]) -> None:
        async with traced() as (service, found, _):
            await ask(service)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"request"' in line]
        assert [line["trace_id"] for line in lines if line["message"] == "request"] == [found.spans[0].trace_id]

    async def test_what_is_said_is_in_them_only_with_log_messages(self) -> None:
        for log_messages in (False, True):
            async with traced(ring_bell, scripts=(calling("ring_bell"), ANSWER), log_messages=log_messages) as made:
                await ask(made[0])
            _, agent, _, call, _ = (span.attributes for span in made[1].spans)
            everything = str([span.attributes for span in made[1].spans])
            assert ("what is the word?" in everything, "sesame" in everything) == (log_messages, log_messages)
            assert call.get("gen_ai.tool.call.result") == ('"ding"' if log_messages else None)
            if log_messages:
                (question,) = json.loads(agent["gen_ai.input.messages"])
                assert question == {"role": "user", "parts": [{"type": "text", "content": "what is the word?"}]}
                called, result, answer = json.loads(agent["gen_ai.output.messages"])
                assert called["parts"] == [
                    {"type": "tool_call", "id": "call_0", "name": "ring_bell", "arguments": "{}"}
                ]
                assert result["parts"] == [{"type": "tool_call_response", "id": "call_0", "response": '"ding"'}]
                assert answer["parts"] == [{"type": "text", "content": "sesame"}]

    async def test_a_secret_never_leaves_in_one(self) -> None:
        redaction.register("open-sesame-1234")
        async with traced(log_messages=True) as (service, found, _):
            await ask(service, {"messages": [{"role": "user", "content": "is it open-sesame-1234?"}]})
        assert b"open-sesame-1234" not in found.requests[0].body
        assert "is it" in str(found.named("invoke_agent").attributes)

    async def test_probes_pages_and_strangers_leave_none(self) -> None:
        async with traced(auth="api_key", api_keys='{"ada": "a-key-of-many-letters"}') as (service, found, _):
            for path in ("/healthz", "/", "/conversations", "/nothing"):
                await handle(service, event("GET", path), RecordedResponse())
            await ask(service)
        assert found.requests == []

    async def test_a_probe_that_fails_leaves_none_either(self) -> None:
        """Else whoever probes every second has an export with each, as long as an outage lasts."""
        async with traced(scripts=(failing(503),)) as (service, found, _):
            response = RecordedResponse()
            await handle(service, event("GET", "/readyz"), response)
        assert response.response
        assert (response.response.status, found.requests) == (503, [])


class TestFailures:
    async def test_a_model_that_fails_fails_its_turn_the_answer_and_the_request(self) -> None:
        async with traced(scripts=(failing(400, b'{"error":{"message":"no"}}'),)) as (service, found, _):
            await ask(service)
        assert [(span.name, span.has_failed) for span in found.spans] == [
            ("POST /chat", True),
            ("invoke_agent desk", True),
            ("chat m-1", True),
        ]
        assert {span.attributes["error.type"] for span in found.spans} == {"ModelRefused"}

    async def test_a_tool_that_fails_fails_nothing_else(self) -> None:
        @tool
        def break_glass() -> str:
            """Break the glass."""
            raise ToolError("it does not break")

        async with traced(break_glass, scripts=(calling("break_glass"), ANSWER)) as (service, found, _):
            await ask(service)
        failed = [span for span in found.spans if span.has_failed]
        assert [(span.name, span.attributes["error.type"]) for span in failed] == [
            ("execute_tool break_glass", "failed")
        ]

    async def test_a_name_that_the_model_makes_up_is_not_in_the_name_of_a_span(self) -> None:
        async with traced(ring_bell, scripts=(calling("ring_everything"), ANSWER)) as (service, found, _):
            await ask(service)
        assert found.named("execute_tool").name == "execute_tool unknown"

    async def test_a_refusal_by_the_store_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def is_away(*_: object, **__: object) -> None:
            raise StorageUnavailable

        monkeypatch.setattr("winterbourne.chat.storage.rate_limits.RateLimiter.count_request", is_away)
        async with traced(limit_requests_per_minute=5) as (service, found, _):
            await ask(service)
        (request,) = found.spans
        assert (request.has_failed, request.attributes["http.response.status_code"]) == (True, 503)

    async def test_how_often_a_model_was_asked_is_told(self) -> None:
        async with traced(scripts=(failing(503), ANSWER)) as (service, found, _):
            await ask(service)
        assert found.named("chat").attributes["http.request.resend_count"] == 1

    async def test_which_models_have_failed_is_told(self) -> None:
        async with traced(scripts=(failing(404), ANSWER), model_fallback="openai:m-2") as (service, found, _):
            await ask(service)
        span = found.named("chat")
        assert (span.name, span.attributes["gen_ai.response.model"]) == ("chat m-1", "m-2")
        assert span.attributes["winterbourne.failed_models"] == ["openai:m-1"]

    async def test_a_request_that_is_cancelled_says_so(self) -> None:
        async def hang(exchange: Exchange) -> None:
            await exchange.start(200)
            reached.set()
            await exchange.gone()

        reached = asyncio.Event()
        async with traced(scripts=(hang, ANSWER)) as (service, found, _):
            asking = asyncio.create_task(ask(service))
            await reached.wait()
            asking.cancel()
            await asyncio.wait((asking,))
            await ask(service)
        assert [(span.name, span.attributes["error.type"]) for span in found.spans if span.has_failed] == [
            ("POST /chat", "CancelledError"),
            ("invoke_agent desk", "CancelledError"),
            ("chat m-1", "CancelledError"),
        ]


class TestPropagation:
    async def test_a_callers_trace_goes_on_and_comes_out_with_the_spans_own_ids(self) -> None:
        async with upstream(saying(b"{}")) as service_of_tool:

            @tool
            async def look(context: ToolContext) -> str:
                """Look."""
                await context.http.get(service_of_tool.url)
                return "seen"

            async with traced(look, scripts=(calling("look"), ANSWER)) as (service, found, provider):
                await ask(service, traceparent=CALLERS, tracestate="shop=1")
        request, _, first, call, second = found.spans
        assert (request.trace_id, request.parent_id) == (CALLERS[3:35], CALLERS[36:52])
        assert sent_traceparents(provider) == [traceparent_of(first), traceparent_of(second)]
        assert sent_traceparents(service_of_tool) == [traceparent_of(call)]
        assert {exchange.headers["tracestate"] for exchange in provider.requests} == {"shop=1"}
        assert "traceparent" not in found.requests[0].headers, "the export itself is nobody's request"

    async def test_a_synchronous_tool_sends_its_own_too(self) -> None:
        async with upstream(saying(b"{}")) as service_of_tool:

            @tool
            def look(context: ToolContext) -> str:
                """Look."""
                context.sync_http.get(service_of_tool.url)
                return "seen"

            async with traced(look, scripts=(calling("look"), ANSWER)) as (service, found, _):
                await ask(service)
        assert sent_traceparents(service_of_tool) == [traceparent_of(found.named("execute_tool"))]

    async def test_many_chats_at_once_keep_their_traces_apart(self) -> None:
        """Also in the requests that their tools send while the others wait."""
        async with upstream(saying(b"{}")) as service_of_tool:

            @tool
            async def look(context: ToolContext) -> str:
                """Look."""
                await context.http.get(service_of_tool.url)
                return "seen"

            async def answer(exchange: Exchange) -> None:
                has_result = b'"role":"tool"' in exchange.body
                await (ANSWER if has_result else calling("look"))(exchange)

            callers = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 21)]
            async with traced(look, scripts=(answer,)) as (service, found, provider):
                await asyncio.gather(*(ask(service, traceparent=each) for each in callers))
        by_trace: dict[str, list[Span]] = {}
        for span in found.spans:
            by_trace.setdefault(span.trace_id, []).append(span)
        assert {*by_trace} == {each[3:35] for each in callers}
        for trace_id, spans in by_trace.items():
            request, agent, *others = spans
            assert sorted(span.name for span in others) == ["chat m-1", "chat m-1", "execute_tool look"]
            assert (request.parent_id, agent.parent_id) == (trace_id[16:], request.span_id)
            assert {span.parent_id for span in others} == {agent.span_id}
        turns = {traceparent_of(span) for span in found.spans if span.kind == "client"}
        assert ({*sent_traceparents(provider)}, len(turns)) == (turns, 40)
        calls = {traceparent_of(span) for span in found.spans if span.name.startswith("execute_tool")}
        assert ({*sent_traceparents(service_of_tool)}, len(calls)) == (calls, 20)

    async def test_of_an_xray_trace_the_header_is_the_spans_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)  # a poller of another test leaves its own
        root = "Root=1-5759e988-bd862e3fe1be46a994272793"
        async with traced() as (service, found, provider):
            headers = {"x-amzn-trace-id": f"{root};Parent=53995c3f42cd8ad8;Sampled=1"}
            await handle(service, event("POST", "/chat", QUESTION, headers), RecordedResponse())
        request, _, turn = found.spans
        assert (request.trace_id, request.parent_id) == ("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8")
        assert provider.requests[0].headers["x-amzn-trace-id"] == f"{root};Parent={turn.span_id};Sampled=1"

    async def test_a_caller_that_does_not_sample_is_not_traced_and_told_so(self) -> None:
        unsampled = CALLERS[:-2] + "00"
        async with traced() as (service, found, provider):
            await ask(service, traceparent=unsampled)
        assert found.requests == []
        assert sent_traceparents(provider) == [unsampled]


class TestExport:
    async def test_comes_after_the_end_of_the_response(self) -> None:
        response = RecordedResponse()
        ended: list[bool] = []
        async with collector(before=lambda: ended.append(response.ended)) as found, traced(into=found) as (service, *_):
            await ask(service, response=response)
        assert ended == [True]

    @jumping
    async def test_does_not_wait_for_a_collector_that_is_silent(self) -> None:
        loop = asyncio.get_running_loop()
        async with collector(0) as found, traced(into=found) as (service, *_):
            before = loop.time()
            await ask(service)
            assert loop.time() - before <= 1.0
            before = loop.time()
            await ask(service)
            assert (loop.time() - before, len(found.requests)) == (0, 1), "for a while nobody waits again"

    async def test_what_could_not_be_sent_is_sent_with_the_next_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("winterbourne.chat.infra.otlp.PAUSE_S", 0.0)
        async with collector(503) as found, traced(into=found) as (service, *_):
            await ask(service)
            assert found.spans == []
            await ask(service)
        assert [span.name for span in found.spans] == ["POST /chat", "invoke_agent desk", "chat m-1"] * 2
        assert len({span.trace_id for span in found.spans}) == 2

    async def test_what_is_refused_is_dropped_and_counted(self, capsys: pytest.CaptureFixture[str]) -> None:
        async with collector(400) as found, traced(into=found) as (service, *_):
            await ask(service)
            await ask(service)
        assert len(found.spans) == 3
        out = capsys.readouterr().out
        assert "3 spans were dropped" in out
        assert '"spans_dropped":3' in out

    async def test_what_is_refused_in_part_is_counted(self, capsys: pytest.CaptureFixture[str]) -> None:
        answer = b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}'
        async with collector(answer=answer) as found, traced(into=found) as (service, *_):
            await ask(service)
        assert '"spans_dropped":2' in capsys.readouterr().out

    async def test_what_waits_is_bounded(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("winterbourne.chat.infra.otlp.MAX_WAITING_BYTES", 6000)
        async with collector(503) as found, traced(into=found) as (service, *_):
            for _ in range(5):
                await ask(service)
            assert service.tracer
            assert service.tracer._waiting_bytes <= 6000
        assert '"spans_dropped":3' in capsys.readouterr().out

    async def test_of_a_response_that_fails_comes_with_the_next_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        response = RecordedResponse()

        async def fail(run: Coroutine[Any, Any, None], *_: object, **__: object) -> None:
            run.close()
            await response.start(Response())
            raise RuntimeError

        async with traced() as (service, found, _):
            with monkeypatch.context() as patch:
                patch.setattr("winterbourne.chat.http.endpoints.chat.supervise", fail)
                with pytest.raises(ChatError):
                    await ask(service, response=response)
            assert found.requests == []
            await ask(service)
        assert [span.name for span in found.spans if span.has_failed] == ["POST /chat", "invoke_agent desk"]

    async def test_a_process_that_ends_sends_what_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("winterbourne.chat.infra.otlp.PAUSE_S", 0.0)
        async with collector(503) as found, traced(into=found) as (service, *_):
            await ask(service)
            assert service.tracer
            await service.tracer.close()
        assert len(found.spans) == 3

    async def test_headers_of_the_setting_are_sent_and_their_values_secret(self) -> None:
        headers = "x-team=desk,authorization=Basic%20b3BlbjpzZXNhbWU%3D"
        async with traced(otel_exporter_otlp_headers=headers, log_messages=True) as (service, found, _):
            await ask(service)
        assert found.requests[0].headers["authorization"] == "Basic b3BlbjpzZXNhbWU="
        assert redaction.redact("Basic b3BlbjpzZXNhbWU=") != "Basic b3BlbjpzZXNhbWU="

    async def test_a_word_in_a_header_is_no_secret_that_chats_may_not_have(self) -> None:
        async with traced(otel_exporter_otlp_headers="x-dataset=weather,x-kind=application/json") as (
            service,
            _,
            provider,
        ):
            await ask(service, {"messages": [{"role": "user", "content": "how is the weather, as application/json?"}]})
        assert b"how is the weather, as application/json?" in provider.requests[0].body

    async def test_whatever_else_answers_is_told_by_its_status(self, caplog: pytest.LogCaptureFixture) -> None:
        """As a web site does, with a page for people."""
        async with collector(404, answer=b"<p>" * 100_000) as found, traced(into=found) as (service, *_):
            await ask(service)
            assert service.tracer
            assert service.tracer._waiting_bytes == 0
        assert "the collector of traces refuses spans: HTTP 404" in caplog.text

    @pytest.mark.parametrize("status", [200, 202, 204])
    async def test_all_that_says_success_has_taken_them(self, status: int, capsys: pytest.CaptureFixture[str]) -> None:
        async with collector(status, answer=b"") as found, traced(into=found) as (service, *_):
            await ask(service)
        assert "dropped" not in capsys.readouterr().out

    async def test_nothing_is_imported_or_sent_where_it_is_off(self) -> None:
        async with upstream(ANSWER) as provider:
            service = make_service(model_provider="openai", openai_base_url=f"{provider.url}/v1")
            await ask(service, traceparent=CALLERS)
        assert service.tracer is None
        assert sent_traceparents(provider) == [CALLERS]
