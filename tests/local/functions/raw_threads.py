"""Like raw.py, but with concurrent invocations: AWS_LAMBDA_MAX_CONCURRENCY threads."""

import http.client
import json
import os
import threading
import time

MAX_CONCURRENCY = int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"])
running: set[str] = set()


def serve() -> None:
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        connection.request("GET", "/2018-06-01/runtime/invocation/next")
        response = connection.getresponse()
        request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
        event = json.loads(response.read())
        if event["do"] == "hang":
            time.sleep(60)
        running.add(request_id)
        while len(running) < event["guests"]:
            time.sleep(0.005)
        body = json.dumps(os.getpid())
        connection.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", body)
        connection.getresponse().read()


for _ in range(MAX_CONCURRENCY):
    threading.Thread(target=serve).start()
