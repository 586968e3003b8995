"""What the process knows as secret, in tests, which share it."""

from winterbourne.chat.infra.redaction import Known, _Index


def forget_secrets() -> None:
    """Forget every secret that was registered."""
    with Known.lock:
        Known.values, Known.index = (), _Index()
