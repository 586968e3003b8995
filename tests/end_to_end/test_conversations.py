"""Authentication, conversations, stops and rate limits over several environments that share a DynamoDB table."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import httpx
import pytest
from httpx_sse import connect_sse
from moto.server import ThreadedMotoServer

from tests.chat.stores import TABLE, template_table
from tests.local_server import DOOR, LocalServer, local_server
from winterbourne.local.doors import DOORS

pytestmark = pytest.mark.slow

ACCOUNT = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-west-1"}
LIMIT = 20


class Cloud(NamedTuple):
    """A DynamoDB and a Secrets Manager on loopback."""

    url: str
    keys_arn: str


class Client(NamedTuple):
    """One caller with their key."""

    url: str
    key: str

    def frames(self, content: str, conversation: str) -> Iterator[dict[str, Any]]:
        body = {"messages": [{"role": "user", "content": content}], "conversation_id": conversation, "store": True}
        with (
            httpx.Client(timeout=30, headers=self.headers) as client,
            connect_sse(client, "POST", f"{self.url}/chat", json=body) as source,
        ):
            source.response.raise_for_status()
            for event in source.iter_sse():
                yield json.loads(event.data)

    def chat(self, content: str, conversation: str) -> list[dict[str, Any]]:
        return list(self.frames(content, conversation))

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, headers=self.headers, timeout=30, **more)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    names = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "eu-west-1"}
    wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes")
    table: Any = boto3.client("dynamodb", endpoint_url=url, **names)  # type: ignore[call-overload]  # all arguments are str
    table.create_table(TableName=TABLE, **{name: template_table()[name] for name in wanted})
    secrets: Any = boto3.client("secretsmanager", endpoint_url=url, **names)  # type: ignore[call-overload]  # as above
    keys = json.dumps({"alice": "key-of-alice", "bob": ["key-of-bob", "next-key-of-bob"], "carol": "key-of-carol"})
    yield Cloud(url, secrets.create_secret(Name="keys", SecretString=keys)["ARN"])
    server.stop()


@pytest.fixture(scope="module")
def server(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    variables = {
        "AWS_ENDPOINT_URL": cloud.url,
        "AUTH": "api_key",
        "API_KEYS_SECRET_ARN": cloud.keys_arn,
        "STORE": f"dynamodb:{TABLE}",
        "LIMIT_REQUESTS_PER_MINUTE": str(LIMIT),
        "SCRIPTED_WORDS_PER_SECOND": "1000",
    }
    flags = [flag for name, value in variables.items() for flag in ("--env", f"{name}={value}")]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ACCOUNT.items():
            patch.setenv(name, value)
        with local_server(tmp_path_factory.mktemp("chat"), "--concurrency", "2", *flags) as server:
            yield server


@pytest.fixture(scope="module")
def url(server: LocalServer) -> str:
    return server.url


@pytest.fixture(scope="module")
def alice(url: str) -> Client:
    return Client(url, "key-of-alice")


@pytest.fixture(scope="module")
def bob(url: str) -> Client:
    return Client(url, "next-key-of-bob")


class TestAuthentication:
    @pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer key-of-nobody"}, {"x-api-key": "key-of-bob2"}])
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/chat"),
            ("POST", "/api/chat"),
            ("POST", "/agui"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
            ("POST", "/chat/c/stop"),
            ("GET", "/conversations"),
            ("GET", "/conversations/c"),
            ("PATCH", "/conversations/c"),
            ("DELETE", "/conversations/c"),
        ],
    )
    def test_rejects_callers_without_a_key(self, url: str, method: str, path: str, headers: dict[str, str]) -> None:
        answer = httpx.request(method, url + path, headers=headers, timeout=30)
        assert answer.status_code == 401
        renamed = "" if DOORS[DOOR].server else "x-amzn-remapped-"  # by function URLs and REST APIs
        assert answer.headers[f"{renamed}www-authenticate"] == 'Bearer realm="chat"'

    def test_accepts_the_key_in_x_api_key(self, url: str) -> None:
        assert httpx.get(f"{url}/conversations", headers={"x-api-key": "key-of-bob"}, timeout=30).status_code == 200

    def test_logs_callers_and_no_keys(self, server: LocalServer) -> None:
        for key in ("key-of-alice", "key-of-nobody"):
            httpx.get(f"{server.url}/conversations", headers={"authorization": f"Bearer {key}"}, timeout=30)
        log = server.log.read_text()
        assert '"caller":"alice"' in log
        assert '"error_type":"unauthorized"' in log
        assert "key-of" not in log


class TestTheInitLog:
    @pytest.mark.parametrize(
        ("auth", "words", "status"),
        [("none", "AUTH=none: anyone who finds this URL may call it", 200), ("api_key", "every call is refused", 401)],
    )
    def test_mentions_an_open_url_and_one_closed_to_everybody(
        self, tmp_path: Path, auth: str, words: str, status: int
    ) -> None:
        with local_server(tmp_path, "--env", f"AUTH={auth}") as server:
            assert httpx.get(f"{server.url}/conversations", timeout=30).status_code == status
            assert words in server.log.read_text()


class TestAConversation:
    def test_is_stored_listed_shown_and_deleted(self, alice: Client) -> None:
        assert alice.chat("hello", "first")[-1]["type"] == "done"
        assert alice.chat("and again", "first")[-1]["type"] == "done"
        listed = alice.ask("GET", "/conversations").json()["conversations"]
        assert [(one["id"], one["title"], one["running"]) for one in listed] == [("first", "hello", False)]
        shown = alice.ask("GET", "/conversations/first").json()
        assert [one["role"] for one in shown["messages"]] == ["user", "assistant"] * 2
        assert alice.ask("DELETE", "/conversations/first").status_code == 204
        assert alice.ask("GET", "/conversations/first").status_code == 404

    def test_stores_tool_calls_and_results(self, alice: Client) -> None:
        alice.chat("the weather in Paris", "tools")
        roles = [one["role"] for one in alice.ask("GET", "/conversations/tools").json()["messages"]]
        assert roles == ["user", "assistant", "tool", "assistant"]

    def test_is_visible_only_to_its_owner(self, alice: Client, bob: Client) -> None:
        alice.chat("secret", "hers")
        assert "hers" not in bob.ask("GET", "/conversations").text
        for method in ("GET", "DELETE"):
            rejected = bob.ask(method, "/conversations/hers")
            assert (rejected.status_code, rejected.json()["error"]["code"]) == (404, "conversation_not_found")
        assert alice.ask("GET", "/conversations/hers").status_code == 200


class TestATitle:
    def test_is_the_models_soon_after_the_first_answer(self, alice: Client) -> None:
        alice.chat("Tell me about the storms of this winter, please", "titled")
        assert _await_title(alice, "titled", "Tell me about the storms of")

    def test_is_the_users_own_also_while_an_answer_runs(self, alice: Client) -> None:
        for number, _ in enumerate(alice.frames("count to 5000", "renamed")):
            if number == 5:
                renamed = alice.ask("PATCH", "/conversations/renamed", json={"title": "Mine"})
                assert (renamed.status_code, renamed.json()["title"], renamed.json()["running"]) == (200, "Mine", True)
                assert alice.ask("POST", "/chat/renamed/stop").status_code == 202
        assert alice.chat("hello", "renamed")[-1]["type"] == "done", "the lease was neither lost nor left behind"
        assert _await_title(alice, "renamed", "Mine")

    def test_is_changed_by_its_owner_alone(self, alice: Client, bob: Client) -> None:
        alice.chat("hello", "owned")
        assert bob.ask("PATCH", "/conversations/owned", json={"title": "His"}).status_code == 404
        assert alice.ask("PATCH", "/conversations/owned", json={"title": ""}).status_code == 400
        assert _await_title(alice, "owned", "hello")


class TestARunningConversation:
    def test_rejects_a_second_request_and_is_stopped_by_its_owner_from_another_environment(
        self, alice: Client, bob: Client
    ) -> None:
        heard: list[dict[str, Any]] = []
        for frame in alice.frames("count to 5000", "running"):
            heard.append(frame)
            if len(heard) == 5:
                rejected = alice.ask("POST", "/chat", json=_asks("me too", "running"))
                assert (rejected.status_code, rejected.json()["error"]["code"]) == (409, "conversation_busy")
                assert alice.ask("DELETE", "/conversations/running").status_code == 409
                assert (
                    bob.ask("POST", "/chat/running/stop").status_code == 202
                )  # his own conversation, which is not running
                assert alice.ask("GET", "/conversations/running").json()["running"] is True
                assert alice.ask("POST", "/chat/running/stop").status_code == 202
        assert heard[-1] == {"type": "stopped", "reason": "user"}
        kept = alice.ask("GET", "/conversations/running").json()
        assert kept["running"] is False
        assert kept["messages"][-1]["incomplete"] is True
        assert kept["messages"][-1]["parts"][0]["text"].startswith("1")


class TestLimits:
    def test_a_request_over_the_limit_is_told_when_to_retry(self, url: str, alice: Client) -> None:
        carol = Client(url, "key-of-carol")
        attempts = range(2 * LIMIT + 1)  # a new minute may begin meanwhile
        responses = (carol.ask("POST", "/chat", json=_asks("hi", "limited")) for _ in attempts)
        rejected = next(response for response in responses if response.status_code == 429)
        assert rejected.json()["error"]["code"] == "rate_limited"
        assert 1 <= int(rejected.headers["retry-after"]) <= 60
        assert alice.chat("hi", "unlimited")[-1]["type"] == "done"


def _await_title(client: Client, conversation: str, title: str) -> bool:
    """Whether the conversation has that title within five seconds: it is written after the answer."""
    for _ in range(100):
        listed = client.ask("GET", "/conversations").json()["conversations"]
        if {one["id"]: one["title"] for one in listed}[conversation] == title:
            return True
        time.sleep(0.05)
    return False


def _asks(content: str, conversation: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], "conversation_id": conversation, "store": True}
