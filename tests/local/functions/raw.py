"""A function process without the engine layer: it calls the Runtime API directly and does what its events say.

Started instead of Lambda's bootstrap: `python raw.py`. The environment variable INIT says how it starts.
"""

import base64
import http.client
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BASE = "/2018-06-01/runtime"
DELIMITER = b"\0" * 8
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def ask(
    method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection.request(method, BASE + path, body, headers or {})
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


class Invocation:
    def __init__(self, headers: dict[str, str], event: Any) -> None:
        self.id = headers["lambda-runtime-aws-request-id"]
        self.headers = headers
        self.event = event

    def answer(self, value: Any) -> None:
        ask("POST", f"/invocation/{self.id}/response", json.dumps(value), {"content-type": "application/json"})

    def open(self, content_type: str) -> None:
        connection.putrequest("POST", f"{BASE}/invocation/{self.id}/response")
        for name, value in {
            "Lambda-Runtime-Function-Response-Mode": "streaming",
            "Transfer-Encoding": "chunked",
            "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
            "Content-Type": content_type,
        }.items():
            connection.putheader(name, value)
        connection.endheaders()

    def chunk(self, data: bytes) -> None:
        connection.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self, trailers: bytes = b"") -> tuple[int, bytes]:
        connection.send(b"0\r\n" + trailers + b"\r\n")
        response = connection.getresponse()
        return response.status, response.read()


def echo(invocation: Invocation) -> None:
    invocation.answer(invocation.event)


def surroundings(invocation: Invocation) -> None:
    known = {"env": dict(os.environ), "cwd": str(Path.cwd()), "argv": sys.argv, "headers": invocation.headers}
    invocation.answer({**known, "pid": os.getpid(), "time": time.time()})


def stream(invocation: Invocation) -> None:
    event = invocation.event
    prelude = json.dumps(event.get("prelude", {"statusCode": 200})).encode() + DELIMITER
    invocation.open(event.get("type", "application/vnd.awslambda.http-integration-response"))
    for number, piece in enumerate([*([prelude] if "type" not in event else []), *event.get("pieces", [])]):
        if number > 1:
            time.sleep(event.get("pause_s", 0))
        invocation.chunk(piece if isinstance(piece, bytes) else piece.encode())
    if event.get("then") == "exit":
        os._exit(3)
    if event.get("then") == "hang":
        time.sleep(60)
    document = base64.b64encode(json.dumps({"errorMessage": "boom", "errorType": "ValueError"}).encode())
    failed = (
        b"Lambda-Runtime-Function-Error-Type: Function.ValueError\r\nLambda-Runtime-Function-Error-Body: " + document
    )
    print("ack", *invocation.end(failed + b"\r\n" if event.get("then") == "fail" else b""), flush=True)  # noqa: T201 - the log is what is tested


def large(invocation: Invocation) -> None:
    invocation.open("application/octet-stream")
    for _ in range(invocation.event["megabytes"]):
        invocation.chunk(bytes(1024 * 1024))
    invocation.end()


def fail(invocation: Invocation) -> None:
    document = json.dumps({"errorMessage": "no", "errorType": "KeyError", "stackTrace": []})
    ask(
        "POST",
        f"/invocation/{invocation.id}/error",
        document,
        {"Lambda-Runtime-Function-Error-Type": "Function.KeyError"},
    )


def leave(invocation: Invocation) -> None:
    os._exit(invocation.event.get("code", 1))


def hang(invocation: Invocation) -> None:
    time.sleep(60)


def linger(invocation: Invocation) -> None:
    invocation.answer("done")
    time.sleep(invocation.event["seconds"])


def spawn(invocation: Invocation) -> None:
    child = subprocess.Popen(["sleep", "60"])
    invocation.answer(child.pid)


def log(invocation: Invocation) -> None:
    print("a line", flush=True)  # noqa: T201 - the log is what is tested
    text = b"a frame\nof two lines"
    frame = struct.pack(">IIQ", 0xA55A000F, len(text), 0) + text
    os.write(int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"]), frame)
    invocation.answer("logged")


def start() -> None:
    match os.environ.get("INIT"):
        case "fail":
            document = json.dumps({"errorMessage": "no module", "errorType": "Runtime.ImportModuleError"})
            ask("POST", "/init/error", document, {"Lambda-Runtime-Function-Error-Type": "Runtime.ImportModuleError"})
            sys.exit(1)
        case "exit":
            sys.exit(7)
        case "hang":
            time.sleep(60)
        case "restore":
            print("restored", ask("GET", "/restore/next")[0], flush=True)  # noqa: T201 - the log is what is tested


start()
while True:
    _, headers, body = ask("GET", "/invocation/next")
    event = json.loads(body)
    globals()[event["do"] if isinstance(event, dict) and "do" in event else "echo"](Invocation(headers, event))
