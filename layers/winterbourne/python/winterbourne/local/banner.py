"""Startup banner of the local server. Pure."""

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urljoin

from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.server import Addresses, ServerConfig

__all__ = ["format_banner"]

_PRACTICE_DATA = "practice data: made-up quotes, weather and exchange rates (--no-practice calls the real services)"
QUESTION = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"


def format_banner(
    config: ServerConfig, addresses: Addresses, tools: Sequence[str] = (), *, chat: bool, warnings: Sequence[str] = ()
) -> str:
    """The addresses, the log file, the tools, which parts are simulated, warnings, and a curl command to paste."""
    url, invoke_url = addresses.url, addresses.invoke_url
    rows = {
        "function URL" if config.door == "url" else config.door: url,
        "chat page": f"{url}/" if chat and config.door not in _REQUESTS else "",
        "metrics": urljoin(url, "/__local/metrics"),
        "traces": urljoin(url, "/__local/traces") if config.collects_traces else "",
        "invoke API": f"{invoke_url}  (function name: {config.function.name})" if invoke_url else "",
        "log": str(config.log_file),
        "model": _describe_model(config.function) if chat else "",
        "tools": ", ".join(tools),
        "data": _PRACTICE_DATA if config.use_stub_services else "",
        "pages": _describe_pages(config),
    }
    table = "\n".join(f"{name:<12}  {value}" for name, value in rows.items() if value)
    table += "".join(f"\nWARNING {warning}" for warning in warnings)
    question = (QUESTION if config.use_stub_services else "Hello") if chat else ""
    return f"{table}\n\nTry it (Ctrl-C stops everything):\n\n{_curl(config, url, question)}\n"


def _describe_model(function: FunctionConfig) -> str:
    provider = function.variables.get("MODEL_PROVIDER") or "scripted"
    if provider != "scripted":
        return provider
    return "scripted: replies from a fixed script, no real model (set MODEL_PROVIDER to use one)"


def _describe_pages(config: ServerConfig) -> str:
    origins = "localhost, on any port" if config.cors.allow_local_origins else ", ".join(config.cors.allow_origins)
    return f"of {origins}, may call (CORS)" if origins else ""


def _curl(config: ServerConfig, url: str, question: str) -> str:
    if not question:
        return f"curl -N {url}/"
    path, wrap = _REQUESTS.get(config.door, ("/chat", _native_body))
    path = path.replace("NAME", config.function.name)
    return f"curl -N {url}{path} -H 'content-type: application/json' -d '{_compact(wrap(question))}'"


def _native_body(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}]}


def _run_agent_input(question: str) -> dict[str, Any]:
    lists: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": "t", "runId": "r", "messages": [{"id": "1", "role": "user", "content": question}], **lists}


def _event(question: str) -> dict[str, Any]:
    context, headers = {"http": {"method": "POST"}}, {"content-type": "application/json"}
    body = _compact(_native_body(question))
    return {"rawPath": "/chat", "requestContext": context, "headers": headers, "body": body}


def _compact(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


_REQUESTS: Final = {
    "agentcore": ("/invocations", _run_agent_input),
    "invoke": ("/2015-03-31/functions/NAME/invocations", _event),
}
"""How a question is asked where there is no path `/chat`."""
