"""What verify deploys, at the local function URL: each claim that needs no AWS is proved, each incident happens."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import ClassVar, Final, cast

import httpx
import pytest

from tests import emf
from tests.cloudwatch import Metrics, episodes
from tests.end_to_end.incidents import BEGIN, RULES, alarms_of
from tests.end_to_end.incidents import Deployment as Played
from tests.local.verify.recorded_aws import RecordedAws
from tests.local_server import ROOT, LocalServer, local_server
from tests.stack import PSEUDO, Stack
from winterbourne.local.verify import measure_streams
from winterbourne.local.verify.asking import ask, probe
from winterbourne.local.verify.claims import CLAIMS
from winterbourne.local.verify.deployment import Deployment, Verdict
from winterbourne.local.verify.measure_incidents import INCIDENTS, Incident
from winterbourne.override import override

pytestmark = pytest.mark.slow

FUNCTION: Final = ROOT / "layers/winterbourne/python/winterbourne/local/files/verify"
KEY, TOKEN, ORIGIN, TIMEOUT_S = "sesame-sesame", "open-the-probes", "https://app.example", 4.0
CORS: Final = {"origin": [ORIGIN], "method": ["POST"], "header": ["content-type", "x-api-key"]}
AT_AWS: Final = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "unused", "AWS_REGION": "eu-central-1"}
ALONE: Final = {"role", "thaw-1", "thaw-5", "thaw-15", "keys", "cors"}
"""What has an environment for itself."""
TOGETHER: Final = {claim.id for claim in CLAIMS if not claim.needs_aws} - ALONE


@contextlib.contextmanager
def deployed(folder: Path, *flags: str, **variables: str) -> Iterator[tuple[Deployment, LocalServer]]:
    """The function at a local URL, as the measurements are given it, and its server."""
    settings = {"VERIFY_TOKEN": TOKEN, "AUTH": "api_key", "API_KEYS": json.dumps({"verify": KEY}), **variables}
    env = [flag for name, value in settings.items() for flag in ("--env", f"{name}={value}")]
    cors = [flag for name, values in CORS.items() for value in values for flag in (f"--cors-allow-{name}", value)]
    where = ("--task-root", str(FUNCTION), "--handler", "app.handler", "--timeout", str(TIMEOUT_S))
    with local_server(folder, *where, *cors, "--cors-expose-header", "x-amzn-requestid", *env, *flags) as server:
        url = server.url.rstrip("/")
        yield Deployment(url=url, api_key=KEY, token=TOKEN, origin=ORIGIN, timeout_s=TIMEOUT_S), server


class Upstream(ThreadingHTTPServer):
    """Another server, and AWS, which refuses everything; it can close its idle connections, as a NAT gateway does."""

    daemon_threads = True
    connections: ClassVar[set[socket]] = set()

    def forget(self, _: float) -> None:
        for connection in self.connections.copy():
            with contextlib.suppress(OSError):
                connection.shutdown(SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    refused = 0

    @override
    def setup(self) -> None:
        super().setup()
        Upstream.connections.add(self.connection)

    def do_GET(self) -> None:
        self._answer(200, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        self._answer(400, {"__type": "com.amazon.coral.service#AccessDeniedException", "message": "not authorized"})

    def _answer(self, status: int, document: Mapping[str, str]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.forget(0)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Of what can be measured at the same time, with wide limits, as this machine may be busy.

    What the narrow ones find is tested on a clock that nothing delays.
    """
    with (
        pytest.MonkeyPatch.context() as patch,
        deployed(tmp_path_factory.mktemp("together"), "--concurrency", "6", DEADLINE_MARGIN="1.5") as (deployment, _),
        ThreadPoolExecutor(4) as pool,
    ):
        wide = {"FIRST_BYTE_S": 1.9, "LATE_S": 1.5, "ALONE": 0.3, "GRACE_S": 30.0, "AT_LEAST_MBPS": 0.2}
        for name, limit in wide.items():
            patch.setattr(measure_streams, name, limit)
        longest_first = sorted(CLAIMS, key=lambda claim: -claim.lasts_s)
        found = {claim.id: pool.submit(claim.check, deployment) for claim in longest_first if claim.id in TOGETHER}
        return {name: future.result() for name, future in found.items()}


@pytest.mark.parametrize("claim", sorted(TOGETHER))
def test_a_claim_is_proved(claim: str, verdicts: dict[str, Verdict]) -> None:
    assert (verdicts[claim].state, verdicts[claim].words) == ("proved", "")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Deployment]:
    there = f"http://127.0.0.1:{upstream.server_port}"
    at_aws = {**AT_AWS, "AWS_ENDPOINT_URL": there, "VERIFY_UPSTREAM": there, "SCRIPTED_WORDS_PER_SECOND": "0"}
    with deployed(tmp_path_factory.mktemp("alone"), "--concurrency", "1", **at_aws) as (deployment, _):
        yield replace(deployment, sleep=upstream.forget)


class TestAlone:
    @pytest.mark.parametrize("claim", sorted(ALONE))
    def test_a_claim_is_proved(self, claim: str, deployment: Deployment) -> None:
        verdict = next(each for each in CLAIMS if each.id == claim).check(deployment)
        assert (verdict.state, verdict.words) == ("proved", "")

    def test_nobody_without_the_token_gets_at_a_probe(self, deployment: Deployment) -> None:
        for name in ("words", "hang", "crash", "role"):
            assert probe(replace(deployment, token="guessed"), name, count=1).status == 404
        assert ask(deployment, "GET", "/verify/crash").status == 404

    def test_an_environment_names_itself_and_the_request(self, deployment: Deployment) -> None:
        told = [json.loads(probe(deployment, "environment").body) for _ in range(2)]
        assert told[0]["environment"] == told[1]["environment"]
        assert told[0]["request_id"] != told[1]["request_id"]


@dataclass
class OfALog(RecordedAws):
    """Counts what a log has, as CloudWatch would once it has arrived."""

    log: Path = Path()
    function: Deployment = field(default_factory=lambda: Deployment(url=""))

    @override
    def metric_sum(self, name: str, start: datetime, end: datetime, *, namespace: str = "Winterbourne") -> float | None:
        ask(self.function, "GET", "/healthz")  # when it is answered, all before it is in the log
        lines = self.log.read_text().splitlines()
        if namespace == "AWS/Lambda":
            return sum("Status: error" in line for line in lines if line.startswith("REPORT"))
        return emf.totals(json.loads(line) for line in lines if line.startswith('{"_aws"'))[name, ""]


@pytest.mark.parametrize("claim", ["metrics", "lambda-errors"])
def test_what_happens_is_what_is_counted(claim: str, tmp_path: Path) -> None:
    with deployed(tmp_path, "--concurrency", "1", SCRIPTED_WORDS_PER_SECOND="0") as (deployment, server):
        counted = replace(deployment, aws=OfALog(log=server.log, function=deployment), sleep=lambda _: None)
        verdict = next(each for each in CLAIMS if each.id == claim).check(counted)
    assert (verdict.state, verdict.words) == ("proved", "")


STACK: Final = Stack(Stage="dev", Metrics="full", MemorySize="256")
NO_TABLE: Final = {"STORE": "dynamodb:T"}
NO_KEYS: Final = {"API_KEYS": "", "API_KEYS_SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:k-1"}
SERVERS: Final[list[tuple[list[str], dict[str, str]]]] = [
    (["failed-chats", "crashes", "tool-timeouts", "memory"], {}),
    (["store"], NO_TABLE),
    (["keys"], NO_KEYS),
]


@pytest.mark.parametrize(("names", "variables"), SERVERS, ids=["well", "no table", "no keys"])
def test_each_incident_sets_off_its_alarm(
    names: list[str], variables: dict[str, str], tmp_path: Path, upstream: Upstream
) -> None:
    """Provoked in two minutes running, by the template's own alarms over the log that came of it."""
    at_aws = {**AT_AWS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{upstream.server_port}", **variables}
    settings = {"SCRIPTED_WORDS_PER_SECOND": "0", "METRICS": "full", "SERVICE_NAME": PSEUDO["AWS::StackName"], **at_aws}
    with deployed(tmp_path, "--concurrency", "1", "--memory", "256", **settings) as (deployment, server):
        there = replace(deployment, aws=SameUrl(url=deployment.url))
        played = Played(server, httpx.Client(), tmp_path, STACK, "ChatFunction")
        heard = {name: _alarms(played, INCIDENTS[name], there) for name in names}
    assert heard == {name: {INCIDENTS[name].alarm} for name in names}


def _alarms(played: Played, incident: Incident, deployment: Deployment) -> set[str]:
    """The alarm of an incident, if it rings within a quarter of an hour."""
    watched = {incident.alarm: alarms_of(STACK)[incident.alarm]}
    played.metrics = Metrics()
    for minute in (0, 1):
        played.at(minute, [lambda _: cast("None", incident.provoke(deployment))])
    return set(episodes(watched, played.metrics, BEGIN, BEGIN + 900, RULES[0]))


def test_all_incidents_but_one_can_be_provoked_without_aws() -> None:
    assert {name for names, _ in SERVERS for name in names} == INCIDENTS.keys() - {"throttles"}
    assert {incident.alarm for incident in INCIDENTS.values()} <= alarms_of(STACK).keys()


@dataclass
class SameUrl(RecordedAws):
    """An account that makes no new environments."""

    url: str = ""

    @override
    def renew(self, *, snap_start: bool) -> str:
        return self.url
