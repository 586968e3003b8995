"""A cache of boto3 clients, one per service and region, created on first use.

Call it in a thread, never on the event loop: importing boto3 and creating a client take tens of milliseconds, more in a
small function, and boto3 itself blocks. A process that calls no AWS service never imports boto3.
"""

import threading
from typing import Any, Final

__all__ = ["client"]

# Creating a client with boto3's default session is not thread-safe.
_CLIENTS_LOCK: Final = threading.Lock()
_CLIENTS: Final[dict[tuple[str, str | None], Any]] = {}

# Short, because a thread is not free for other calls before its call has given up.
CONNECT_TIMEOUT_S: Final = 1
READ_TIMEOUT_S: Final = 2
MAX_ATTEMPTS: Final = 3


def client(service: str, region: str | None = None) -> Any:
    """The client of one service. Blocks: call it in a thread.

    Timeouts and the retry limit keep the client's calls to seconds, not minutes.

    Args:
        service: The service's name in boto3, such as `dynamodb`.
        region: The resource's region, if it differs from the environment's.
    """
    with _CLIENTS_LOCK:
        if (service, region) not in _CLIENTS:
            import boto3  # noqa: PLC0415 - heavy: imported only when AWS is called
            from botocore.config import Config  # noqa: PLC0415 - likewise

            retries: Any = {"mode": "standard", "total_max_attempts": MAX_ATTEMPTS}
            config = Config(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries=retries)
            make_client: Any = boto3.client  # the stubs accept only a literal name
            _CLIENTS[service, region] = make_client(service, region_name=region, config=config)
        return _CLIENTS[service, region]
