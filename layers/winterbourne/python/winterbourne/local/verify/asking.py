"""Asks the deployment under measurement: its chat, its probes, and any path."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from winterbourne.local.verify.client import Answer, Connection
from winterbourne.local.verify.deployment import Deployment

__all__ = ["PROBES", "TERMINAL", "ask", "connection", "frames", "probe", "question"]

PROBES: Final = "/verify/"
"""Where the function's probes are."""

TERMINAL: Final = frozenset({"done", "error", "stopped"})
"""The types of a terminal frame."""

QUESTION: Final = "Count to 20"


def connection(deployment: Deployment) -> Connection:
    """A connection to the deployment. OSError if nothing answers."""
    url = urlsplit(deployment.url)
    tls = url.scheme == "https"
    socket = deployment.connect(url.hostname or "", url.port or (443 if tls else 80), tls)
    return Connection(socket, url.netloc, deployment.clock, url.path)


def ask(
    deployment: Deployment, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Ask for a path on a connection of its own. OSError if no response comes."""
    with connection(deployment) as connected:
        return connected.ask(method, path, (headers or {}).items(), body)


def probe(deployment: Deployment, name: str, **query: object) -> Answer:
    """Ask a probe of the function."""
    path = f"{PROBES}{name}?{urlencode(query)}"
    return ask(deployment, "GET", path, {"x-verify-token": deployment.token})


def question(deployment: Deployment, content: str = QUESTION, **headers: str | None) -> Answer:
    """Ask the chat one question, with the deployment's key unless `headers` have another, or None for no key.

    CloudFront with origin access control refuses a body whose digest its sender does not say:
    https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html
    """
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    sent = {"x-api-key": deployment.api_key or None} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    named = {name: value for name, value in sent.items() if value is not None}
    named |= {"content-type": "application/json", "content-length": str(len(body))}
    named["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    return ask(deployment, "POST", "/chat", named, body)


def frames(answer: Answer) -> list[dict[str, Any]]:
    """The frames of a chat's answer that arrived whole."""
    data = [line.removeprefix(b"data: ") for _, line in answer.lines() if line.startswith(b"data: {")]
    return [json.loads(each) for each in data]
