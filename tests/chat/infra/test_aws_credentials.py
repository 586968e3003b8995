"""AWS credentials and region: the environment's, the container endpoint's, and botocore's where there is neither."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest

from tests.chat.stores import Clock
from tests.clock import jumping
from tests.upstream import Exchange, Upstream, upstream
from winterbourne.chat.errors import CredentialsMissing, SettingsError
from winterbourne.chat.infra import aws_credentials, http_pool, redaction
from winterbourne.chat.infra.aws_credentials import (
    PATIENCE_S,
    REFRESH_BEFORE_S,
    RETRY_S,
    ContainerCredentials,
    Credentials,
    find_credentials,
    find_region,
)

ENGINE = Path(__file__).parents[3] / "layers" / "winterbourne" / "python"


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without credentials, as botocore sees it too."""
    for name in (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
        *("AWS_REGION", "AWS_DEFAULT_REGION"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    aws_credentials._session.cache_clear()
    monkeypatch.setattr(aws_credentials, "_CONTAINER", ContainerCredentials())
    aws_credentials._registered.cache_clear()


class TestTheEnvironment:
    async def test_its_keys_are_read_anew_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-one")
        assert await find_credentials() == Credentials("one", "secret-one")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "two")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-two")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "token-two")
        assert await find_credentials() == Credentials("two", "secret-two", "token-two")
        assert redaction.redact("secret-one secret-two token-two") == " ".join(["[redacted]"] * 3)

    async def test_they_win_over_an_endpoint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/none")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-one")
        assert (await find_credentials()).key_id == "one"

    async def test_the_region_is_lambdas_or_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        assert await find_region() == "eu-west-1"
        monkeypatch.setenv("AWS_REGION", "eu-north-1")
        assert await find_region() == "eu-north-1"


class Endpoint:
    """What the container endpoint answers: it counts, and its credentials live for an hour of the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.number = 0
        self.status = 200
        self.lifetime_s = 3600.0

    async def answer(self, exchange: Exchange) -> None:
        self.number += 1
        expires_at = datetime.fromtimestamp(self.clock.time_s + self.lifetime_s, UTC)
        fields = {
            "AccessKeyId": f"key-{self.number}",
            "SecretAccessKey": f"secret-{self.number}",
            "Token": f"session-{self.number}",
            "Expiration": f"{expires_at:%Y-%m-%dT%H:%M:%SZ}",
            "AccountId": "123456789012",
        }
        await exchange.start(self.status, content_type="application/json")
        await exchange.send(json.dumps(fields).encode())
        await exchange.end()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint(clock: Clock) -> Endpoint:
    return Endpoint(clock)


@pytest.fixture
async def server(endpoint: Endpoint, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    monkeypatch.setattr(aws_credentials, "_CONTAINER", ContainerCredentials(clock))
    async with upstream(*[endpoint.answer] * 20) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/2021-04-23/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "snap-start-token")
        yield server


class TestTheContainerEndpoint:
    async def test_gives_credentials_to_who_has_its_token(self, server: Upstream, clock: Clock) -> None:
        expected = Credentials("key-1", "secret-1", "session-1", clock.time_s + 3600)
        assert await find_credentials() == expected
        (exchange,) = server.requests
        assert exchange.head.startswith("GET /2021-04-23/credentials ")
        assert exchange.headers["authorization"] == "snap-start-token"
        assert redaction.redact("secret-1 session-1 snap-start-token") == " ".join(["[redacted]"] * 3)

    async def test_a_token_in_a_file_wins_and_is_read_each_time(
        self, server: Upstream, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = tmp_path / "token"
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(file))
        for token in ("first-token", "second-token"):
            file.write_text(f"{token}\n")
            await find_credentials()
            assert server.requests[-1].headers["authorization"] == token
            clock.time_s += 3600

    async def test_a_relative_address_is_that_of_ecs_and_wins(
        self, server: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(aws_credentials, "ECS_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x")
        await find_credentials()
        assert server.requests[0].head.startswith("GET /v2/credentials/x ")

    async def test_is_asked_once_by_all_who_wait(self, endpoint: Endpoint, server: Upstream) -> None:
        found = await asyncio.gather(*(find_credentials() for _ in range(5)))
        assert {each.key_id for each in found} == {"key-1"}
        assert endpoint.number == 1

    async def test_is_asked_again_before_they_expire(self, server: Upstream, clock: Clock) -> None:
        await find_credentials()
        clock.time_s += 3600 - REFRESH_BEFORE_S - 1
        assert (await find_credentials()).key_id == "key-1"
        clock.time_s += 1
        assert (await find_credentials()).key_id == "key-2"

    async def test_is_asked_again_after_a_snapshot_in_which_they_have_expired(
        self, server: Upstream, clock: Clock
    ) -> None:
        await find_credentials()
        clock.time_s += 90 * 86400
        assert (await find_credentials()).key_id == "key-2"

    async def test_while_it_fails_they_are_used_to_the_end(
        self, endpoint: Endpoint, server: Upstream, clock: Clock
    ) -> None:
        await find_credentials()
        clock.time_s += 3600 - REFRESH_BEFORE_S
        endpoint.status = 400
        assert (await find_credentials()).key_id == "key-1"
        assert (await find_credentials()).key_id == "key-1"
        assert endpoint.number == 2
        clock.time_s += RETRY_S
        endpoint.status = 200
        assert (await find_credentials()).key_id == "key-3"

    async def test_short_lived_credentials_are_not_fetched_for_each_request(
        self, endpoint: Endpoint, server: Upstream
    ) -> None:
        endpoint.lifetime_s = REFRESH_BEFORE_S / 2
        for _ in range(5):
            await find_credentials()
        assert endpoint.number == 1

    @jumping
    async def test_one_that_hangs_keeps_nobody_waiting_whose_credentials_are_valid(self) -> None:
        async def silent(exchange: Exchange) -> None:
            await exchange.gone()

        clock = Clock()
        container = ContainerCredentials(clock)
        async with upstream(Endpoint(clock).answer, silent) as server:
            with mock.patch.dict("os.environ", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url}):
                await container.read()
                clock.time_s += 3600 - REFRESH_BEFORE_S
                began = asyncio.get_running_loop().time()
                assert (await container.read()).key_id == "key-1"
                assert asyncio.get_running_loop().time() - began <= PATIENCE_S

    async def test_no_proxy_is_told_its_token(
        self, endpoint: Endpoint, server: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        await http_pool.close()
        assert (await find_credentials()).key_id == "key-1"

    async def test_what_it_refuses_is_missing(self, endpoint: Endpoint, server: Upstream) -> None:
        endpoint.status = 403
        with pytest.raises(CredentialsMissing, match="answered 403"):
            await find_credentials()

    async def test_one_that_is_away_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://127.0.0.1:9/credentials")
        with pytest.raises(CredentialsMissing, match="cannot be read: ConnectError"):
            await find_credentials()

    @pytest.mark.parametrize(
        "url",
        ["http://example.com/x", "http://127.example.com/x", "http://169.254.170.2.example.com/x", "ftp:/x"],
    )
    async def test_a_token_is_sent_to_no_other_machine_without_tls(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        with pytest.raises(CredentialsMissing, match="without TLS"):
            await find_credentials()


class TestElsewhere:
    async def test_a_profile_is_read_by_botocore(self, tmp_path: Path) -> None:
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id=mine\naws_secret_access_key=my-secret\naws_session_token=my-token\n"
        )
        (tmp_path / "config").write_text("[default]\nregion=sa-east-1\n")
        assert await find_credentials() == Credentials("mine", "my-secret", "my-token")
        assert await find_region() == "sa-east-1"

    async def test_nothing_is_an_error_that_says_so(self) -> None:
        with pytest.raises(CredentialsMissing, match="there are no AWS credentials"):
            await find_credentials()
        with pytest.raises(SettingsError, match="AWS_REGION"):
            await find_region()

    async def test_so_is_nothing_without_botocore(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "botocore.session", None)
        with pytest.raises(CredentialsMissing, match="cannot be read"):
            await find_credentials()
        with pytest.raises(SettingsError, match="AWS_REGION"):
            await find_region()

    async def test_a_profile_that_botocore_cannot_use_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(CredentialsMissing, match="cannot be read: ProfileNotFound"):
            await find_credentials()
        with pytest.raises(SettingsError, match="AWS_REGION"):
            await find_region()


def test_the_keys_of_the_environment_need_no_botocore() -> None:
    check = (
        "import asyncio, sys; from winterbourne.chat.infra.aws_credentials import find_credentials, find_region\n"
        "print(asyncio.run(find_credentials()).key_id, asyncio.run(find_region()))\n"
        "assert 'botocore' not in sys.modules"
    )
    environ = {"PYTHONPATH": str(ENGINE), "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r"}
    done = subprocess.run([sys.executable, "-c", check], env=environ, check=True, capture_output=True, text=True)
    assert done.stdout == "k r\n"
