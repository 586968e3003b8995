"""The doors by name: what stands between the client's request and the function, and what the function is there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from winterbourne.local.agentcore import AgentCoreRuntime
from winterbourne.local.http_door import HttpDoor
from winterbourne.local.web_functions import WebFunction

__all__ = ["DOORS", "Door"]


@dataclass(frozen=True, kw_only=True)
class Door:
    """A door.

    Attributes:
        about: What it stands for.
        server: The proxy, where the function is an ASGI application behind a server; else it is a Lambda function.
        has_cors: Whether it answers preflights and adds headers as configured; elsewhere that is the chat's business.
        defaults: Arguments of `run` that have other defaults here.
    """

    about: str
    server: type[HttpDoor] | None = None
    has_cors: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


_APPLICATION: Final = {"handler": "chat.app:chat.asgi"}

DOORS: Final = {
    "url": Door(about="a function URL", has_cors=True),
    "rest": Door(about="a REST API of API Gateway", defaults={"burst": 10 * 1024 * 1024}),
    "invoke": Door(about="the Invoke API (boto3)"),
    "asgi": Door(about="uvicorn", server=HttpDoor, defaults=_APPLICATION),
    "web": Door(about="Lambda Web Functions", server=WebFunction, defaults=_APPLICATION),
    "agentcore": Door(
        about="AgentCore Runtime, on port 8080", server=AgentCoreRuntime, defaults={**_APPLICATION, "port": 8080}
    ),
    "instances": Door(
        about="a function URL on Managed Instances, 16 requests in one process",
        has_cors=True,
        defaults={"managed_instances": 16},
    ),
}
