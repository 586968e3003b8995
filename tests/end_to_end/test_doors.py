"""Every door: the same request gets the same status, the same headers but for the door's own, and the same bytes."""

import base64
import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import boto3
import botocore
import httpx
import pytest

from tests.end_to_end.doors import KEY, OTHER_SERVERS, Ask, Door, Doors
from tests.recorded.cases.formats import FORMATS, text_of_user
from tests.recorded.normalize import steady

pytestmark = pytest.mark.slow

REST_WITH_BASE_PATH: Final = "rest --base-path=tiler"
NAMES: Final = (
    *("rest", REST_WITH_BASE_PATH, "invoke", "asgi", "web", "instances"),
    *(pytest.param(name, marks=pytest.mark.doors) for name in OTHER_SERVERS),
)
SEES_GONE: Final = ("asgi", "web", *(pytest.param(name, marks=pytest.mark.doors) for name in OTHER_SERVERS))
NEVER_SEES_GONE: Final = ("url", "rest", "invoke", "instances")


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with Doors(tmp_path_factory.mktemp("doors")) as doors:
        yield doors


@pytest.fixture(scope="module", params=NAMES)
def door(request: pytest.FixtureRequest, doors: Doors) -> Door:
    return doors[request.param]


def question(form: str, text: str, **more: Any) -> Ask:
    path, options = FORMATS[form]
    return Ask("POST", path, {"messages": [text_of_user(path, text)], **options, **more})


def echo(path: str, *headers: tuple[str, str], method: str = "GET", body: bytes = b"") -> Ask:
    """A request that is answered with what arrived of it."""
    return Ask(method, path, body, (("x-echo", "1"), ("user-agent", "suite"), *headers), has_key=False)


BEARER: Final = {"authorization": f"Bearer {KEY}"}
JSON: Final = {"content-type": "application/json"}
NATIVE: Final = {"messages": [{"role": "user", "content": "hello"}]}
PIXEL: Final = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc33"
        "0000000049454e44ae426082"
    )
).decode()
IMAGE: Final = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}

AWKWARD: Final = ("a%20b", "a%2Fb", "a%3Fb", "a%25b", "a%252Fb", "a+b", "a%2Bb", "%E6%B8%AF", "a;b=c", "a:b@c", "~a")

VISITS: Final[dict[str, tuple[Ask, ...]]] = {
    "the page": (Ask("GET", "/", has_key=False), Ask("GET", "/web/none/none.js", has_key=False)),
    "health": (Ask("GET", "/healthz", has_key=False), Ask("HEAD", "/healthz", has_key=False)),
    **{form: (question(form, "add 2 and 3"), question(form, "hello")) for form in FORMATS},
    "an error in mid-stream": tuple(question(form, "fail halfway") for form in FORMATS),
    "401": (Ask("GET", "/conversations", has_key=False), Ask("POST", "/chat", NATIVE, has_key=False)),
    "404": (Ask("GET", "/nowhere"), Ask("GET", "/conversations/none"), Ask("POST", "/chat/a/b")),
    "405": (Ask("GET", "/chat"), Ask("PUT", "/chat", NATIVE), Ask("DELETE", "/healthz")),
    "413": (Ask("POST", "/chat", b" " * (2 * 1024 * 1024 + 1), JSON),),
    "415": (Ask("POST", "/chat", b"{}", {"content-type": "text/plain"}), Ask("POST", "/v1/chat/completions", b"x")),
    "400": tuple(
        Ask("POST", "/chat", body, JSON)
        for body in (b"{", b"[]", b"{}", b'{"messages":[]}', b'{"messages":"\xff"}', b"", b"[" * 5000)
    ),
    "HEAD": (Ask("HEAD", "/"), Ask("HEAD", "/nowhere"), Ask("HEAD", "/conversations")),
    "a body of a megabyte": (question("native", "count the letters: " + "x" * 1_000_000),),
    "an image": (
        Ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": [IMAGE]}]}),
        question("native", "hello \U0001f300 \u6e2f \x7f"),
    ),
    "conversations": (
        question("native", "hello", conversation_id="one", store=True),
        question("native", "add 1 and 1", conversation_id="one/two three", store=True),
        Ask("GET", "/conversations?limit=1"),
        Ask("GET", "/conversations?limit=1&limit=2"),
        Ask("GET", "/conversations?limit=&after="),
        Ask("GET", "/conversations?limit=many"),
        Ask("GET", "/conversations/one%2Ftwo%20three"),
        Ask("GET", "/conversations/one/two%20three"),
        Ask("GET", "/conversations/one%252Ftwo%20three"),
        Ask("PATCH", "/conversations/one", {"title": "\u6e2f"}),
        Ask("DELETE", "/conversations/one%2Ftwo%20three"),
        Ask("GET", "/conversations/one%2Ftwo%20three"),
        Ask("POST", "/chat/one/stop"),
        Ask("GET", "/chat/one/stream"),
    ),
    "paths": tuple(echo(f"/conversations/{segment}") for segment in AWKWARD),
    "queries": tuple(
        echo(f"/conversations?{query}")
        for query in ("a=1&a=2&b=", "a=x+y&b=x%2By&c=x%20y", "%E6%B8%AF=%26", "a", "a=b=c", "", "&&a=1")
    ),
    "cookies": (
        echo("/conversations", ("cookie", "session=abc; theme=dark")),
        echo("/conversations", ("cookie", "a=1"), ("cookie", "b=2; c=3")),
    ),
    "repeated headers": (echo("/conversations", ("x-probe", "first"), ("x-probe", "second")),),
    "a body of no known type": (echo("/chat", method="POST", body=b"\x00\xff"),),
}


class TestTheSameRequest:
    @pytest.mark.parametrize("title", VISITS)
    def test_is_answered_alike(self, title: str, door: Door, doors: Doors) -> None:
        expected = doors.reference(title, *VISITS[title])
        for ask, answer, other in zip(VISITS[title], door.ask(*VISITS[title]), expected, strict=True):
            assert answer == other, f"{ask.method} {ask.path}"

    def test_is_named_in_each_answer(self, door: Door) -> None:
        for ask in (Ask("GET", "/healthz"), Ask("GET", "/nowhere"), question("native", "hello")):
            names = {"x-amzn-requestid", "lambda-web-request-id", "x-request-id"} & ask.send(door.client).headers.keys()
            assert names or door.name == "invoke", "whose answer is not in HTTP"


class TestTheReference:
    """What all are compared with is right."""

    def test_answers_each_visit_as_its_name_says(self, doors: Doors) -> None:
        for title in ("401", "404", "405", "413", "415", "400"):
            assert {answer.status for answer in doors.reference(title, *VISITS[title])} == {int(title)}

    def test_calls_the_tool_in_every_format(self, doors: Doors) -> None:
        for form in FORMATS:
            called, answered = doors.reference(form, *VISITS[form])
            assert (called.status, answered.status) == (200, 200)
            assert form.startswith("openai") or "sum" in called.body

    def test_keeps_encoded_slashes_whole_and_finds_the_conversation(self, doors: Doors) -> None:
        statuses = [answer.status for answer in doors.reference("conversations", *VISITS["conversations"])]
        assert statuses[6:9] == [200, 404, 404]
        assert statuses[10:12] == [204, 404]

    def test_sees_cookies_and_headers_as_they_were_sent(self, doors: Doors) -> None:
        def seen(title: str) -> list[Any]:
            answers = doors.reference(title, *VISITS[title])
            return [json.loads(json.loads(answer.body)["error"]["message"])[3] for answer in answers]

        assert [each["cookie"] for each in seen("cookies")] == ["session=abc; theme=dark", "a=1; b=2; c=3"]
        assert seen("repeated headers")[0]["x-probe"].replace(" ", "") == "first,second"

    def test_ends_a_broken_stream_with_its_terminal_frame(self, doors: Doors) -> None:
        native, *_ = doors.reference("an error in mid-stream", *VISITS["an error in mid-stream"])
        assert '"type":"error"' in native.body.rstrip().rpartition("\n\n")[2]


def leave(door: Door) -> str:
    """Ask for a long answer, read its beginning, hang up, and return what becomes of the model."""
    ask = question("native", "talk on")
    with door.client.stream(ask.method, **ask.arguments(door.client)) as response:
        assert response.status_code == 200
        assert any('"content"' in line for line in response.iter_lines())
    return door.became_of_model()


class TestAClientThatHangsUp:
    @pytest.mark.parametrize("name", SEES_GONE)
    def test_is_noticed_and_the_model_is_cancelled(self, name: str, doors: Doors) -> None:
        assert leave(doors[name]) == "cancelled"

    @pytest.mark.parametrize("name", NEVER_SEES_GONE)
    def test_is_not_noticed_where_nothing_tells_and_the_model_goes_on(self, name: str, doors: Doors) -> None:
        assert leave(doors[name]) == "ended"


def of_agentcore(door: Door, path: str, body: object, **headers: str) -> httpx.Response:
    return door.client.post(door.url + path, json=body, headers={**BEARER, **headers})


class TestAgentCore:
    """One path reaches the chat, with AG-UI's bodies."""

    @pytest.mark.parametrize("text", ["add 2 and 3", "hello", "fail halfway"])
    def test_invocations_are_answered_as_ag_ui_is(self, text: str, doors: Doors) -> None:
        ask = question("ag_ui", text)
        (expected,) = doors.reference(f"AG-UI: {text}", ask)
        assert doors["agentcore"].ask(replace(ask, path="/invocations")) == [expected]

    def test_sdk_gets_the_same_bytes_and_its_session(self, doors: Doors) -> None:
        ask = question("ag_ui", "hello")
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        client = session.client("bedrock-agentcore", endpoint_url=doors["agentcore"].url)
        arn = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/doors-abc"
        client.meta.events.register(
            "before-sign", lambda request, **_: request.headers.add_header(*next(iter(BEARER.items())))
        )
        client.meta.events.register("choose-signer", lambda **_: botocore.UNSIGNED)
        with contextlib.closing(client):
            answer = client.invoke_agent_runtime(
                agentRuntimeArn=arn,
                payload=json.dumps(ask.body),
                runtimeSessionId="s" * 33,
                contentType="application/json",
            )
            body = answer["response"].read()
        assert answer["runtimeSessionId"] == "s" * 33
        assert answer["contentType"] == "text/event-stream"
        (expected,) = doors.reference("AG-UI: hello", ask)
        assert steady(body.decode()) == expected.body

    def test_refusals_are_those_of_the_chat_and_other_paths_those_of_the_runtime(self, doors: Doors) -> None:
        door = doors["agentcore"]
        assert door.client.post("/invocations", json={}).status_code == 401
        assert of_agentcore(door, "/invocations", {}).status_code in {400, 422}
        for path in ("/", "/chat", "/conversations", "/agui"):
            assert door.client.get(path).status_code == 404

    def test_is_well_while_chats_run(self, doors: Doors) -> None:
        door, ask = doors["agentcore"], question("ag_ui", "talk on")
        with ThreadPoolExecutor(8) as pool:
            chats = [pool.submit(door.ask, replace(ask, path="/invocations")) for _ in range(8)]
            statuses = []
            while not all(chat.done() for chat in chats):
                statuses.append(door.client.get("/ping").json()["status"])
        assert set(statuses) <= {"Healthy", "HealthyBusy"}
        assert {chat.result()[0].status for chat in chats} == {200}


class TestManyAtOnce:
    @pytest.mark.parametrize("name", ["instances", "asgi", "web"])
    def test_are_served_by_one_process(self, name: str, doors: Doors) -> None:
        door, ask = doors[name], question("native", "hello")
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: door.ask(ask)[0], range(12)))
        assert len(set(answers)) == 1


@pytest.mark.doors
class TestTheDeadline:
    """Where the door has none, REQUEST_TIMEOUT is one."""

    FLAGS: Final = ("--timeout", "4", "--env", "DEADLINE_MARGIN=2")

    @pytest.mark.parametrize("name", ["url", "rest", "invoke", "asgi", "web", "agentcore", "instances"])
    def test_is_preceded_by_the_terminal_frame(self, name: str, tmp_path: Path) -> None:
        ask = question("ag_ui" if name == "agentcore" else "native", "talk on for ever")
        with Doors(tmp_path, *self.FLAGS) as doors:
            (answer,) = doors[name].ask(replace(ask, path="/invocations") if name == "agentcore" else ask)
        last = json.loads(answer.body.rstrip().rpartition("data: ")[2])
        assert (last["type"], last["code"]) in {("error", "deadline_reached"), ("RUN_ERROR", "deadline_reached")}


def golden(name: str, **context: Any) -> dict[str, Any]:
    """An event in the form in which AWS's was captured (doors.md, 1 and 2.1), with cookies in each of their places."""
    cookies, headers = ["session=abc123", "theme=dark"], {"x-echo": "1", "user-agent": "curl/8.7.1"}
    if name == "2.0":
        http = {"method": "GET", "path": "/a b", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7"}
        return {
            "version": "2.0",
            "rawPath": "/conversations/a%20b",
            "rawQueryString": "repeat=one&repeat=two&plus=a+b&encoded=a%2Bb&empty=",
            "cookies": cookies,
            "headers": {**headers, "cookie": "; ".join(cookies), "x-probe": "first,second"},
            "requestContext": {"domainName": "x.lambda-url.us-west-2.on.aws", "http": http, "timeEpoch": 1, **context},
            "isBase64Encoded": False,
        }
    lists = {name: [value] for name, value in {**headers, "cookie": "; ".join(cookies)}.items()}
    query = {"repeat": ["one", "two"], "plus": ["a b"], "encoded": ["a+b"], "empty": [""]}
    identity = {"sourceIp": "192.0.2.7", "userArn": "", "caller": "", **context.pop("identity", {})}
    return {
        "resource": "/{proxy+}",
        "path": "/conversations/a%20b",
        "httpMethod": "GET",
        "headers": {**{name: value for name, [value] in lists.items()}, "x-probe": "second"},
        "multiValueHeaders": {**lists, "x-probe": ["first", "second"]},
        "queryStringParameters": {name: values[-1] for name, values in query.items()},
        "multiValueQueryStringParameters": query,
        "pathParameters": {"proxy": "conversations/a%20b"},
        "stageVariables": None,
        "requestContext": {
            "stage": "live",
            "path": "/live/conversations/a%20b",
            "requestId": "r",
            "requestTimeEpoch": 1783711144836,
            "identity": identity,
            "authorizer": None,
            **context,
        },
        "body": None,
        "isBase64Encoded": False,
    }


ARN: Final = "arn:aws:iam::123456789012:user/ada"


class TestAGoldenEvent:
    @pytest.mark.parametrize(
        ("event", "identity"),
        [
            (golden("2.0"), {}),
            (golden("2.0", authorizer={"iam": {"userArn": ARN, "userId": "AIDA"}}), {"kind": "iam", "userArn": ARN}),
            (golden("1.0"), {}),
            (golden("1.0", identity={"userArn": ARN, "caller": "AIDA"}), {"kind": "iam", "userArn": ARN}),
            (golden("1.0", authorizer={"claims": {"sub": "ada"}}), {"kind": "jwt", "sub": "ada"}),
            (
                golden("1.0", authorizer={"principalId": "ada", "role": "x"}),
                {"kind": "authorizer", "principalId": "ada"},
            ),
        ],
    )
    def test_is_the_same_request_in_both_formats(
        self, event: dict[str, Any], identity: dict[str, str], doors: Doors
    ) -> None:
        method, path, query, headers, client, seen = doors["invoke"].echo(event)
        assert (method, path, client) == ("GET", "/conversations/a%20b", "192.0.2.7")
        assert query == [["repeat", "one"], ["repeat", "two"], ["plus", "a b"], ["encoded", "a+b"], ["empty", ""]]
        assert headers == {
            "cookie": "session=abc123; theme=dark",
            "x-probe": "first,second",
            "user-agent": "curl/8.7.1",
        }
        assert seen.items() >= identity.items()
        assert bool(seen) == bool(identity)
