"""Every alarm is proved: incidents are played on the local URL, and the template's own alarms evaluated over its log.

Each incident finds exactly its alarms, by whichever reading of what CloudWatch's documentation leaves open; an hour of
ordinary traffic finds none.
"""

import json
from pathlib import Path

import pytest

from tests.end_to_end.incidents import FUNCTION, Deployment, Incident, alarms_of, deployment
from tests.stack import Stack

pytestmark = pytest.mark.slow

UNANSWERED = {"errors", "failing"}
THRESHOLDS = {"FirstTokenMsAlarm": "500", "DollarsPerHourAlarm": "5", "MemorySize": "256"}
FULL = Stack(Stage="prod", ToolWorkerMemorySize="512", **THRESHOLDS)
LEAN = Stack(Stage="dev", **THRESHOLDS)

WELL = {0: ["hello"]}


def three_windows(event: str) -> dict[int, list[str]]:
    """The same every five minutes of a quarter of an hour."""
    return {minute: [event] for minute in (0, 5, 10)}


def invoke(tool: str, **arguments: int) -> str:
    """A call of a tool as the chat makes it."""
    return "invoke " + json.dumps({"tool": tool, "arguments": arguments, "timeout_s": 5})


def broken(deployment: Deployment) -> None:
    deployment.write("import nothing_of_that_name")


def mended(deployment: Deployment) -> None:
    deployment.write(FUNCTION)


PRICES = {"MODEL_PRICES": '{"*":{"input":3,"output":15}}'}
MODEL = {
    "the provider is overloaded": Incident(UNANSWERED, {0: ["overloaded"], 3: ["overloaded"]}),
    "the provider throttles": Incident(UNANSWERED, {0: ["throttled"], 3: ["throttled"]}),
    "the provider's bill is unpaid": Incident(UNANSWERED, {0: ["unpaid"], 3: ["unpaid"]}),
    "the model's key is refused": Incident(UNANSWERED, {0: ["key refused"], 3: ["key refused"]}),
    "there is no such model": Incident(UNANSWERED, {0: ["unknown model"], 3: ["unknown model"]}),
    "the provider breaks off": Incident(UNANSWERED, {0: ["cut"], 3: ["cut"]}),
    "the provider sends garbage": Incident(UNANSWERED, {0: ["garbled"], 3: ["garbled"]}),
    "the provider is slow": Incident({"first-token"}, three_windows("slow")),
    "one chat in five fails": Incident({"errors"}, {m: [*["hello"] * 4, "unpaid"] for m in range(5)}),
    "two fail in a row after one that did not, hours apart": Incident(
        {"failing"}, {0: ["hello"], 60: ["unpaid"], 150: ["unpaid"]}
    ),
    "a caller asks for much": Incident({"spending", "dollars"}, {0: ["cost 1500000"], 30: ["cost 600000"]}),
    "a model is dear": Incident({"dollars"}, {0: ["cost 900000"], 30: ["cost 900000"]}),
    "the model does not take what the deployment asks": Incident(UNANSWERED, {0: ["odd option"], 3: ["odd option"]}),
    "callers make mistakes": Incident(set(), {0: ["", "GET /nothing"], 1: [""], 2: [""]}),
    "callers' conversations are what no model takes": Incident(set(), {m: ["too long", "flagged"] for m in range(3)}),
    "one chat fails": Incident(set(), {0: ["hello"], 1: ["unpaid"], 2: ["hello"]}),
    "failures have answers between them": Incident(
        set(), {0: ["unpaid"], 20: ["hello"], 40: ["unpaid"], 60: ["hello"], 80: ["unpaid"]}
    ),
}
TOOLS = {
    "a tool's host is down": Incident({"breakers"}, {0: ['call ask_host {"path":"/down"} 6 times']}),
    "a tool hangs": Incident({"tool-timeouts"}, {0: ["call hang {} 3 times"], 2: ["call hang {} 3 times"]}),
    "a tool is slow": Incident({"first-token"}, three_windows("call be_slow {}")),
    "a tool is stuck in threads": Incident({"abandoned-threads"}, {0: ["call hang_in_thread {} 4 times"]}),
}
PROCESS = {
    "the process is killed for its memory": Incident(
        {"crashes"}, {0: ["hello"], 1: ['call die {"status":0}'], 2: ["hello"]}
    ),
    "a tool ends the process": Incident({"crashes"}, {0: ['call die {"status":3}'], 1: ["hello"]}),
    "a deployment cannot start": Incident({"crashes", "init-errors"}, {0: ["hello"], 1: [broken], 2: ["hello"]}),
    "memory runs low": Incident({"memory"}, {0: [mended], 1: ["hello"], 2: ["call fill {}"]}),
}
DEADLINE = {
    "answers take too long": Incident(UNANSWERED, {0: ["silent", "silent"]}),
    "a tool blocks the event loop": Incident({"crashes"}, {0: ["hello"], 1: ["call block {}"], 2: ["hello"]}),
    "a tool holds the interpreter's lock": Incident({"crashes"}, {0: ["call hold_the_lock {}"]}),
}
FEW_AT_ONCE = {
    "more chats at once than may be": Incident(
        {"throttles"}, {0: ["slow", "slow", "hello"], 1: ["slow", "slow", "hello"]}
    ),
    "the pool is too small": Incident({"pool"}, {m: ['call ask_host {"path":"/slow"} 3 times'] for m in range(5)}),
}
KEYS = {
    "the callers' keys cannot be read": Incident({"auth", *UNANSWERED}, {0: ["hello"], 1: ["hello"]}),
}
STRANGERS = {
    "a stranger has no key": Incident(set(), {m: ["stranger: hello"] * 3 for m in range(5)}),
    "a caller is over the limit": Incident(set(), {0: ["hello"] * 8, 1: ["hello"] * 4}),
}
TABLE = {
    "DynamoDB throttles": Incident({"store", *UNANSWERED}, {0: ["hello"], 1: ["hello"]}),
}
UNREACHABLE = {
    "the provider is unreachable": Incident(UNANSWERED, {0: ["hello"], 1: ["hello"]}),
}

WORKER = {
    "the tool worker crashes": Incident({"worker-crashes"}, {0: [invoke("die", status=0)], 1: [invoke("be_quick")]}),
    "tools fill the account's quota": Incident({"worker-throttles"}, {m: [invoke("be_slow")] * 3 for m in range(2)}),
    "a tool of the worker hangs": Incident(set(), {0: [invoke("hang")], 1: [invoke("be_quick")]}),
}
TRAILERS = {
    "answers fail, and Lambda is told": Incident({"crashes", *UNANSWERED}, {0: ["unpaid"], 1: ["cut"]}),
    "callers' mistakes are none of Lambda's": Incident(set(), {0: ["too long"], 1: ["flagged"]}),
}

FUNCTION_ENDS = ("--timeout", "3", "--concurrency", "2")
KEYS_SECRET = {
    "AUTH": "api_key",
    "API_KEYS_SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:k-AbCdEf",
}
DEPLOYMENTS = {
    "model": (FULL, MODEL, ("--concurrency", "5"), PRICES),
    "tools": (FULL, TOOLS, (), {}),
    "process": (FULL, PROCESS, ("--memory", "256", "--concurrency", "1"), {}),
    "deadline": (FULL, DEADLINE, FUNCTION_ENDS, {}),
    "few at once": (
        FULL,
        FEW_AT_ONCE,
        ("--concurrency", "1"),
        {"HTTP_POOL_MAXSIZE": "1", "HTTP_POOL_CONNECTIONS": "1"},
    ),
    "keys": (FULL, KEYS, (), {**KEYS_SECRET, "AWS_ENDPOINT_URL": "OUTSIDE"}),
    "strangers": (
        FULL,
        STRANGERS,
        ("--concurrency", "8"),
        {
            **KEYS_SECRET,
            "AWS_ENDPOINT_URL": "OUTSIDE/well",
            "LIMIT_REQUESTS_PER_MINUTE": "2",
            "STORE": "file:limits.db",
        },
    ),
    "table": (
        FULL,
        TABLE,
        (),
        {"STORE": "dynamodb:T", "LIMIT_REQUESTS_PER_MINUTE": "60", "AWS_ENDPOINT_URL": "OUTSIDE"},
    ),
    "trailers": (FULL, TRAILERS, (), {"ERROR_TRAILERS": "true"}),
    "worker": (FULL, WORKER, ("--concurrency", "1", "--invoke-port", "0"), {"name": "ToolWorkerFunction"}),
    "lean": (LEAN, UNREACHABLE, ("--timeout", "3"), {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}),
}

PROBES = ["GET /healthz", "GET /readyz", "GET /"]
HOURS = {
    "busy": {minute: ["hello", "call be_quick {}"][: 1 + minute % 2] for minute in range(60)},
    "sparse": {0: ["hello"], 17: ["hello"], 41: ["call be_quick {}"], 59: ["hello"]},
    "of little but probes": {minute: [*PROBES, *["hello"] * (minute % 20 == 7)] for minute in range(1, 60, 2)},
    "without anybody": {0: ["GET /healthz"], 59: ["GET /healthz"]},
}


@pytest.mark.parametrize("stack", [FULL, LEAN], ids=["full", "lean"])
def test_an_hour_of_ordinary_traffic_finds_no_alarm(stack: Stack, tmp_path: Path) -> None:
    with deployment(tmp_path, stack, "--concurrency", "3") as deployed:
        rang = {name: deployed.play(Incident(set(), events)) for name, events in HOURS.items()}
        measured = {metric for _, metric, _ in deployed.metrics.points}
    assert rang == {name: set() for name in HOURS}
    assert "Chats" not in measured, "probes are no chats"


def test_there_are_twenty_incidents_and_more_and_each_alarm_of_the_chat_has_one() -> None:
    incidents = [incident for _, played, _, _ in DEPLOYMENTS.values() for incident in played.values()]
    assert len(incidents) >= 20
    assert {alarm for incident in incidents for alarm in incident.alarms} == set(alarms_of(FULL))


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_an_incident_finds_exactly_its_alarms(name: str, tmp_path: Path) -> None:
    stack, incidents, flags, settings = DEPLOYMENTS[name]
    with deployment(tmp_path, stack, *flags, **settings) as deployed:
        rang = {name: deployed.play(incident) for name, incident in incidents.items()}
    assert rang == {name: incident.alarms for name, incident in incidents.items()}
