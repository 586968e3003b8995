"""boto3 clients, made when first needed and kept.

Nothing here runs on the event loop: importing boto3 and making a client take tens of milliseconds, more in a small
function, and boto3 itself blocks. Whoever needs none of AWS never pays for it.
"""

import threading
from typing import Any, Final

__all__ = ["client"]

# boto3's default session is not thread-safe while it makes a client.
_CLIENTS_LOCK: Final = threading.Lock()
_CLIENTS: Final[dict[tuple[str, str | None], Any]] = {}

CONNECT_TIMEOUT_S: Final = 2
READ_TIMEOUT_S: Final = 5
MAX_ATTEMPTS: Final = 3


def client(service: str, region: str | None = None) -> Any:
    """The client of one service. Blocks: call it in a thread. Its calls take seconds at most, not minutes.

    Args:
        service: As boto3 names it.
        region: Another than the environment's, where a resource lives elsewhere.
    """
    with _CLIENTS_LOCK:
        if (service, region) not in _CLIENTS:
            _CLIENTS[service, region] = _make(service, region)
        return _CLIENTS[service, region]


def _make(service: str, region: str | None) -> Any:
    import boto3  # noqa: PLC0415 - heavy: only where AWS is really called
    from botocore.config import Config  # noqa: PLC0415 - likewise

    retries: Any = {"mode": "standard", "total_max_attempts": MAX_ATTEMPTS}
    config = Config(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries=retries)
    make_client: Any = boto3.client  # its stubs want a literal name
    return make_client(service, region_name=region, config=config)
