"""Startup banner of the local server. Pure."""

from winterbourne.local.function_config import FunctionConfig

__all__ = ["format_banner"]

QUESTION = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"


def format_banner(
    function: FunctionConfig, *, url: str, invoke_url: str, log: str, chat: bool, use_stub_services: bool
) -> str:
    """The addresses, the log file, which parts are simulated, and a curl command to paste."""
    rows = {
        "function URL": url,
        "chat page": f"{url}/" if chat else "",
        "metrics": f"{url}/__local/metrics",
        "invoke API": f"{invoke_url}  (function name: {function.name})" if invoke_url else "",
        "log": log,
        "model": _describe_model(function) if chat else "",
        "tools": _describe_tools(use_stub_services=use_stub_services) if chat else "",
    }
    table = "\n".join(f"{name:<12}  {value}" for name, value in rows.items() if value)
    return f"{table}\n\nTry it (Ctrl-C stops everything):\n\n{_curl(url, chat=chat)}\n"


def _describe_model(function: FunctionConfig) -> str:
    provider = function.variables.get("MODEL_PROVIDER") or "scripted"
    if provider != "scripted":
        return provider
    return "scripted: replies from a fixed script, no real model (set MODEL_PROVIDER to use one)"


def _describe_tools(*, use_stub_services: bool) -> str:
    if use_stub_services:
        return "practice data: made-up quotes, weather and exchange rates (--no-practice calls the real services)"
    return "the real services, over the network"


def _curl(url: str, *, chat: bool) -> str:
    if not chat:
        return f"curl -N {url}/"
    body = f'{{"messages":[{{"role":"user","content":"{QUESTION}"}}]}}'
    return f"curl -N {url}/chat -H 'content-type: application/json' -d '{body}'"
