"""Redaction: applies what `redact_logs` registered to every log line and error report before it leaves."""

from collections.abc import Callable

__all__ = ["redact_logs", "redact_text"]


def redact_logs(redact: Callable[[str], str]) -> None:
    """Redact everything that is logged or printed, and every error that is reported to Lambda.

    Example: `redact_logs(lambda text: text.replace(KEY, "[redacted]"))`. Output that bypasses Python's stdout and
    stderr, from a C library or a child process, is not redacted.

    Args:
        redact: Takes any text and returns it without secrets. It is called from any thread, and may get the same text
            twice. Only the last registered function is used.
    """
    _Redactor.redact = redact


def redact_text(text: str) -> str:
    """The redacted text; if redaction fails, the text is withheld."""
    try:
        return _Redactor.redact(text)
    except Exception as error:  # noqa: BLE001 - user code: fail closed without failing the invocation
        return f"<not shown: redaction raised {type(error).__name__}>" + "\n" * text.endswith("\n")


class _Redactor:
    redact: Callable[[str], str] = staticmethod(str)
