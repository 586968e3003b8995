"""Settings that the local server passes to a chat: the user's own, and defaults that run without AWS."""

from pathlib import Path

import pytest

from tests.stack import ROOT
from winterbourne.chat.settings import VARIABLES, Settings
from winterbourne.chat.tool_runtime.approvals import MIN_KEY_CHARS
from winterbourne.local.chat_settings import (
    find_problems,
    is_chat,
    local_settings,
    named_variables,
    signing_key,
    user_settings,
)
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.server import ServerConfig


def test_a_chat_is_recognized_by_the_engine_it_uses(tmp_path: Path) -> None:
    assert is_chat(ROOT / "functions")
    assert not is_chat(tmp_path)
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "app.py").write_text("handler = None")
    assert not is_chat(tmp_path)


def test_every_setting_of_the_user_is_passed_on_and_nothing_else() -> None:
    environ = {**dict.fromkeys(VARIABLES, "x"), "PATH": "/bin", "HOME": "/h"}
    assert user_settings(environ, ()).keys() == VARIABLES


def test_what_the_functions_code_names_is_passed_on_and_the_arn_of_its_secret() -> None:
    environ = {"SHOP_API_KEY": "k", "PIER_KEY_SECRET_ARN": "arn", "OTHER_KEY": "o"}
    assert user_settings(environ, {"SHOP_API_KEY", "PIER_KEY"}) == {"SHOP_API_KEY": "k", "PIER_KEY_SECRET_ARN": "arn"}


def test_an_empty_variable_counts_as_unset() -> None:
    assert user_settings({"MODEL_ID": "", "SHOP_API_KEY": ""}, {"SHOP_API_KEY"}) == {}


def test_names_in_a_functions_code_are_found_but_not_those_of_the_platform(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "order.py").write_text(
        """
@tool(keys=["SHOP_API_KEY"])
async def get_order(): return os.environ['SHOP_URL'], os.environ["PYTHONPATH"], os.environ["AWS_REGION"]
TOKEN, A_CONSTANT = os.environ["TOKEN"], os.environ["PYTHON_ORG_KEY"], os.environ["AWS_THING_KEY"], "lower_case"
NONE = os.environ["HOME"], os.environ["PATH"], os.environ["AWS_LAMBDA_FUNCTION_NAME"], os.environ["LANG"]
"""
    )
    assert named_variables(tmp_path) == {"SHOP_API_KEY", "SHOP_URL", "TOKEN", "PYTHON_ORG_KEY", "AWS_THING_KEY"}


def test_everyone_may_call_and_all_processes_share_a_store(tmp_path: Path) -> None:
    settings = Settings.from_environment(local_settings(tmp_path))
    assert settings.auth.auth == "none"
    assert settings.storage.store == f"file:{tmp_path}/store.sqlite3"


def test_a_signing_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    first = signing_key(tmp_path / "new")
    assert signing_key(tmp_path / "new") == first
    assert len(first) >= MIN_KEY_CHARS
    assert (tmp_path / "new" / "signing.key").stat().st_mode & 0o077 == 0


class TestProblems:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            *[("MODEL_PROVDER", "MODEL_PROVIDER"), ("MAX_TRUNS", "MAX_TURNS"), ("AUHT", "AUTH"), ("STROE", "STORE")],
            *[("model_provider", "MODEL_PROVIDER"), ("MCP_TOKEN", "MCP_TOKENS"), ("MODEL-ID", "MODEL_ID")],
            *[("OPENAI_APIKEY", "OPENAI_API_KEY"), ("TOOL_EXECUTION_TIMEOUTS", "TOOL_EXECUTION_TIMEOUT")],
        ],
    )
    def test_a_misspelt_variable_is_named_with_what_is_meant(self, name: str, meant: str) -> None:
        assert find_problems(config(), {name: "x"}) == [f"{name} is not a setting; is {meant} meant?"]

    @pytest.mark.parametrize(
        "name",
        [
            *("PATH", "HOME", "LANG", "SHELL", "TERM", "USER", "PWD", "HTTP_PROXY", "https_proxy", "NO_PROXY", "TZ"),
            *("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"),
            *("GITHUB_TOKEN", "GITHUB_API_KEY", "GROQ_API_KEY", "OPENAI_ORG_ID", "OPENAI_API_BASE", "SSH_AUTH_SOCK"),
            *("PYTHONPATH", "VIRTUAL_ENV", "XAUTHORITY", "MODEL_PATH", "STORE_URL", "SERVICE_URL", "LOG_LEVEL"),
        ],
    )
    def test_other_variables_are_nobodys_business(self, name: str) -> None:
        assert find_problems(config(), {name: "x"}) == []

    @pytest.mark.parametrize(
        ("problem", "timeout_s", "variables"),
        [
            ("no tool has time", 12, {"HEARTBEAT_INTERVAL": "5"}),
            ("no tool has time", 60, {"TOOL_ANSWER_RESERVE": "58"}),
            ("no answer has time", 2, {}),
            ("no heartbeat is ever sent", 120, {"HEARTBEAT_INTERVAL": "118"}),
            ("MODEL_TEMPERATURE is above", 120, {"MODEL_TEMPERATURE": "1", "MODEL_TEMPERATURE_MAX": "0.5"}),
            ("HTTP_POOL_CONNECTIONS is above", 120, {"HTTP_POOL_MAXSIZE": "19"}),
            ("STORE=memory", 120, {"STORE": "memory"}),
            ("API_KEYS has no effect with AUTH=none", 120, {"API_KEYS": '{"a": "b"}'}),
            ("JWT_ISSUER has no effect with AUTH=none", 120, {"JWT_ISSUER": "https://a.example"}),
            ("JWT_CLIENT_ID has no effect with AUTH=none", 120, {"JWT_CLIENT_ID": "page"}),
            ("AUTH=iam: requests here have no caller", 120, {"AUTH": "iam"}),
        ],
    )
    def test_settings_that_contradict_each_other_are_one_line(
        self, problem: str, timeout_s: float, variables: dict[str, str]
    ) -> None:
        [line] = find_problems(config(timeout_s, **variables), {})
        assert line.startswith(problem)

    @pytest.mark.parametrize(
        ("timeout_s", "variables"), [(12.5, {"HEARTBEAT_INTERVAL": "5"}), (120, {"MAX_TURNS": "x"})]
    )
    def test_what_works_or_is_reported_elsewhere_is_none(self, timeout_s: float, variables: dict[str, str]) -> None:
        assert find_problems(config(timeout_s, **variables), {}) == []


def config(timeout_s: float = 120, **variables: str) -> ServerConfig:
    settings = {"AUTH": "none", "STORE": "file:x", **variables}
    return ServerConfig(
        function=FunctionConfig(task_root=Path(), handler="a.b", timeout_s=timeout_s, variables=settings)
    )
