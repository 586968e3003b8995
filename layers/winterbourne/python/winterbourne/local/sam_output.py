"""Formats the output of `sam local invoke` as `curl -i` would show it; used by `make invoke`.

The emulator's exit code says nothing about the function, so this program's does: 0 for a response, 1 for anything else.
"""

import base64
import json
import sys
from http import HTTPStatus
from typing import Any

__all__ = ["format_response"]


def format_response(output: str) -> str:
    """Turn the emulator's output into status line, headers and body.

    Raises:
        ValueError: It is not a function URL response; the message includes it.
    """
    if not output.strip():
        raise ValueError("no response: the function timed out, or the emulator could not start it; its log is above")
    try:
        response = json.loads(output)
        status = HTTPStatus(response["statusCode"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"not a function URL response: {output.strip()}") from None
    headers = "".join(f"{name}: {value}\n" for name, value in response.get("headers", {}).items())
    cookies = "".join(f"set-cookie: {cookie}\n" for cookie in response.get("cookies", ()))
    return f"{status} {status.phrase}\n{headers}{cookies}\n{_body(response)}"


def _body(response: dict[str, Any]) -> str:
    body = str(response.get("body", ""))
    return base64.b64decode(body).decode(errors="replace") if response.get("isBase64Encoded") else body


def main() -> int:
    """Read standard input; print the response, or the reason why there is none."""
    try:
        sys.stdout.write(format_response(sys.stdin.read()))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
