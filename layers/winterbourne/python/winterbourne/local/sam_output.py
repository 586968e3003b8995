"""Read what `sam local invoke` prints: `make invoke` pipes it here to show it as `curl -i` would.

The emulator's exit code says nothing of the function, so this one's does: 0 for an answer, 1 for anything else.
"""

import base64
import json
import sys
from http import HTTPStatus
from typing import Any

__all__ = ["read"]


def read(printed: str) -> str:
    """Turn the emulator's output into status line, headers and body.

    Raises:
        ValueError: It is no answer; the message says what it is instead.
    """
    if not printed.strip():
        raise ValueError("no answer: the function timed out, or the emulator could not start it; its log is above")
    try:
        answer = json.loads(printed)
    except ValueError:
        raise ValueError(f"no function-URL answer: {printed.strip()}") from None
    if not isinstance(answer, dict) or "statusCode" not in answer:
        raise ValueError(f"no function-URL answer: {printed.strip()}")
    status = HTTPStatus(answer["statusCode"])
    headers = "".join(f"{name}: {value}\n" for name, value in answer.get("headers", {}).items())
    cookies = "".join(f"set-cookie: {cookie}\n" for cookie in answer.get("cookies", ()))
    return f"{status} {status.phrase}\n{headers}{cookies}\n{_body(answer)}"


def _body(answer: dict[str, Any]) -> str:
    body = str(answer.get("body", ""))
    return base64.b64decode(body).decode(errors="replace") if answer.get("isBase64Encoded") else body


def main() -> int:
    """Read standard input, print the answer or the reason why there is none."""
    try:
        sys.stdout.write(read(sys.stdin.read()))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
