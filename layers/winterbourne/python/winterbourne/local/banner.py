"""What the local server says when it has started. Pure."""

from winterbourne.local.environment import Function

__all__ = ["banner"]

QUESTION = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"


def banner(function: Function, *, url: str, invoke_url: str, log: str, chat: bool, practice: bool) -> str:
    """The addresses, a line to paste, where the log is, and what of all this is not real."""
    rows = {
        "function URL": url,
        "chat page": f"{url}/" if chat else "",
        "metrics": f"{url}/__local/metrics",
        "invoke API": f"{invoke_url}  (function name: {function.name})" if invoke_url else "",
        "log": log,
        "model": _model(function) if chat else "",
        "tools": _tools(practice=practice) if chat else "",
    }
    table = "\n".join(f"{name:<12}  {value}" for name, value in rows.items() if value)
    return f"{table}\n\nTry it (Ctrl-C stops everything):\n\n{_curl(url, chat=chat)}\n"


def _model(function: Function) -> str:
    provider = function.variables.get("MODEL_PROVIDER") or "scripted"
    if provider != "scripted":
        return provider
    return "scripted: a fixed script for trying out, no real model (MODEL_PROVIDER chooses one)"


def _tools(*, practice: bool) -> str:
    if practice:
        return "practice data: made-up quotes, weather and exchange rates (--no-practice asks the real services)"
    return "the real services, over the network"


def _curl(url: str, *, chat: bool) -> str:
    if not chat:
        return f"curl -N {url}/"
    body = f'{{"messages":[{{"role":"user","content":"{QUESTION}"}}]}}'
    return f"curl -N {url}/chat -H 'content-type: application/json' -d '{body}'"
