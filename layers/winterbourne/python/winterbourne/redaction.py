"""What every line of the log and every error report passes before it leaves the process."""

from collections.abc import Callable

__all__ = ["redact_logs", "redact_text"]


def redact_logs(redact: Callable[[str], str]) -> None:
    """Pass whatever is logged or printed, and every error that is reported to Lambda, through this function.

    For a function that knows its secrets: `redact_logs(lambda text: text.replace(KEY, "[redacted]"))`. What is
    written past Python's own stdout and stderr, by a library in C or a child process, is out of its reach.

    Args:
        redact: Any text in, the text without its secrets out. Called from any thread, and may see a text twice. The
            last one given counts.
    """
    _Redactor.redact = redact


def redact_text(text: str) -> str:
    """The text as it may leave. Where that cannot be found out, it does not leave."""
    try:
        return _Redactor.redact(text)
    except Exception as error:  # noqa: BLE001 - the function's own; it must not cost the invocation, nor let a secret out
        return f"<not shown: redaction raised {type(error).__name__}>" + "\n" * text.endswith("\n")


class _Redactor:
    redact: Callable[[str], str] = staticmethod(str)
