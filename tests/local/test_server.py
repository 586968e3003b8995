"""The whole local server with the engine layer: real processes, real sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.local.sinks import until
from tests.local.test_traces import export, span
from tests.opt import WRAPPER
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.server import Addresses, ServerConfig, _base_url, run_server

APP = FunctionConfig(
    task_root=Path(__file__).parent / "functions", handler="app.handler", wrapper=str(WRAPPER), timeout_s=10
)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, function: FunctionConfig = APP, **plan: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Addresses]]:
    async with (
        run_server(ServerConfig(function=function, log_file=folder / "log", **plan)) as addresses,
        httpx.AsyncClient() as http,
    ):
        http.base_url, http.timeout = httpx.URL(addresses.url), httpx.Timeout(20)
        yield http, addresses


class TestAFunctionUnderTheLayer:
    async def test_streams_through_the_function_url(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (http, _), http.stream("GET", "/slow") as response:
            assert (response.status_code, response.headers["set-cookie"]) == (200, "seen=1")
            pieces = response.aiter_text()
            assert (await anext(pieces)).startswith("local ")
            assert await anext(pieces) == "slow\n"

    @pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 302), ("GET", 304)])
    async def test_answers_without_a_body(self, tmp_path: Path, method: str, status: int) -> None:
        async with serving(tmp_path) as (http, _):
            response = await http.request(method, f"/status/{status}")
        assert (response.status_code, response.content, response.headers["location"]) == (status, b"", "/elsewhere")

    async def test_can_be_restored_from_a_snapshot(self, tmp_path: Path) -> None:
        async with serving(tmp_path, replace(APP, snap_start=True)) as (http, _):
            assert (await http.get("/")).text.startswith("local ")

    async def test_gives_a_502_for_a_failure_before_the_response(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (http, _):
            for path in ("/raise-before", "/crash-before"):
                assert (await http.get(path)).status_code == 502
            assert (await http.get("/")).status_code == 200

    async def test_breaks_the_stream_off_for_a_failure_during_it(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (http, _):
            for path in ("/raise-after", "/crash-after"):
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.get(path)
        log = (tmp_path / "log").read_text()
        assert "Function.ValueError: after" in log
        assert "Runtime.TruncatedResponse" in log

    async def test_serves_many_at_once_from_one_process_on_managed_instances(self, tmp_path: Path) -> None:
        function = replace(APP, managed_instances=8)
        async with serving(tmp_path, function) as (http, _):
            answers = await asyncio.gather(*(http.get("/slow") for _ in range(8)))
        assert len({answer.text for answer in answers}) == 1


class TestTheLog:
    async def test_has_everything_and_the_console_the_human_readable_part(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        async with serving(tmp_path) as (http, _):
            await http.get("/")
            await until(lambda: {"REPORT", "GET"} <= set((tmp_path / "log").read_text().split()))
        log, screen = (tmp_path / "log").read_text(), capfd.readouterr().out
        assert "START RequestId" in log
        assert "GET / 200" in log
        assert "GET / 200" in screen
        assert "RequestId" not in screen


class TestTheMetricsPage:
    async def test_has_the_requests(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (http, _):
            await http.get("/")
            await until(lambda: "GET /" in (tmp_path / "log").read_text())
            shown = (await http.get("/__local/metrics?x", headers={"accept": "application/json"})).json()
        assert shown["requests"][0].startswith("GET / 200")
        assert len(shown["requests"]) == 1


class TestTheTracesPage:
    async def test_shows_what_the_function_exports_to_the_collector_that_it_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text("import os\nasync def handler(event, context): return dict(os.environ)\n")
        function = FunctionConfig(task_root=tmp_path, handler="app.handler", wrapper=str(WRAPPER))
        async with serving(tmp_path, function, collects_traces=True) as (http, _):
            endpoint = (await http.get("/")).json()["OTEL_EXPORTER_OTLP_ENDPOINT"]
            headers = {"content-type": "application/json"}
            (await http.post(f"{endpoint}/v1/traces", content=export(span("root")), headers=headers)).raise_for_status()
            shown = (await http.get("/__local/traces", headers={"accept": "application/json"})).json()
        assert [trace["trace_id"] for trace in shown["traces"]] == ["t1"]

    async def test_other_functions_are_told_of_no_collector(self, tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text("import os\nasync def handler(event, context): return dict(os.environ)\n")
        function = FunctionConfig(task_root=tmp_path, handler="app.handler", wrapper=str(WRAPPER))
        async with serving(tmp_path, function) as (http, _):
            assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in (await http.get("/")).json()


class TestTheInvokeApi:
    async def test_is_served_if_enabled(self, tmp_path: Path) -> None:
        async with serving(tmp_path, invoke_port=0) as (http, addresses):
            response = await http.post(f"{addresses.invoke_url}/2015-03-31/functions/local/invocations", content=b"{}")
        assert response.content.startswith(json.dumps({"statusCode": 200})[:-1].replace(" ", "").encode())

    async def test_is_not_served_otherwise(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (_, addresses):
            assert addresses.invoke_url == ""


class TestStubServices:
    async def test_are_what_the_functions_settings_point_to(self, tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text("import os\nasync def handler(event, context): return dict(os.environ)\n")
        function = FunctionConfig(
            task_root=tmp_path, handler="app.handler", wrapper=str(WRAPPER), variables={"FINNHUB_API_KEY": "mine"}
        )
        async with serving(tmp_path, function, use_stub_services=True) as (http, _):
            seen = (await http.get("/")).json()
            rates = await http.get(seen["FRANKFURTER_BASE_URL"] + "/latest")
        assert rates.json()["source"] == "practice data"
        assert seen["FINNHUB_API_KEY"] == "mine"

    async def test_are_not_started_unless_enabled(self, tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text("import os\nasync def handler(event, context): return dict(os.environ)\n")
        async with serving(
            tmp_path, FunctionConfig(task_root=tmp_path, handler="app.handler", wrapper=str(WRAPPER))
        ) as (http, _):
            assert "FRANKFURTER_BASE_URL" not in (await http.get("/")).json()


def test_ipv6_addresses_are_in_brackets() -> None:
    assert (_base_url("::1", 3000), _base_url("127.0.0.1", 3000)) == ("http://[::1]:3000", "http://127.0.0.1:3000")


async def test_a_port_in_use_stops_the_start_before_any_process(tmp_path: Path) -> None:
    async with serving(tmp_path) as (http, _):
        with pytest.raises(OSError, match="is in use"):
            async with run_server(
                ServerConfig(function=APP, port=http.base_url.port or 0, log_file=tmp_path / "other")
            ):
                pass


async def test_a_foreign_host_reaches_neither_the_function_nor_the_metrics(tmp_path: Path) -> None:
    async with serving(tmp_path) as (http, _):
        for path in ("/", "/__local/metrics"):
            assert (await http.get(path, headers={"host": "evil.example"})).status_code == 421
    assert "START RequestId" not in (tmp_path / "log").read_text()
