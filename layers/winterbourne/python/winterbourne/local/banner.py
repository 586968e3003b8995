"""Startup banner of the local server. Pure."""

from collections.abc import Sequence

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
        "function URL": url,
        "chat page": f"{url}/" if chat else "",
        "metrics": f"{url}/__local/metrics",
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
    return f"{table}\n\nTry it (Ctrl-C stops everything):\n\n{_curl(url, question)}\n"


def _describe_model(function: FunctionConfig) -> str:
    provider = function.variables.get("MODEL_PROVIDER") or "scripted"
    if provider != "scripted":
        return provider
    return "scripted: replies from a fixed script, no real model (set MODEL_PROVIDER to use one)"


def _describe_pages(config: ServerConfig) -> str:
    origins = "localhost, on any port" if config.cors.allow_local_origins else ", ".join(config.cors.allow_origins)
    return f"of {origins}, may call (CORS)" if origins else ""


def _curl(url: str, question: str) -> str:
    if not question:
        return f"curl -N {url}/"
    body = f'{{"messages":[{{"role":"user","content":"{question}"}}]}}'
    return f"curl -N {url}/chat -H 'content-type: application/json' -d '{body}'"
