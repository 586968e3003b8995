"""Function configuration: the environment variables and the command of the function process."""

import sys
from pathlib import Path
from typing import Any

from winterbourne.local.function_config import FunctionConfig, environment_variables


def variables_for(function: FunctionConfig, **users: str) -> dict[str, str]:
    return environment_variables(function, users, runtime_api="127.0.0.1:9001", log_stream="s", log_fd=5)


def function(**changes: Any) -> FunctionConfig:
    return FunctionConfig(
        **{"task_root": Path("/var/task"), "handler": "app.handler", "wrapper": "/opt/winterbourne", **changes}
    )


class TestTheVariables:
    def test_are_those_of_lambda(self) -> None:
        assert variables_for(function(name="f", memory_mb=256)) == {
            "_HANDLER": "app.handler",
            "_LAMBDA_TELEMETRY_LOG_FD": "5",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info[1]}",
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/winterbourne",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
            "AWS_LAMBDA_LOG_STREAM_NAME": "s",
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
            "AWS_REGION": "us-east-1",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LAMBDA_TASK_ROOT": "/var/task",
            "LANG": "en_US.UTF-8",
            "PATH": "/bin:/usr/bin:/usr/local/bin:/opt/bin",
            "TZ": ":UTC",
        }

    def test_of_the_user_are_only_credentials_and_the_region(self) -> None:
        seen = variables_for(function(), AWS_REGION="eu-west-1", AWS_PROFILE="p", SECRET="s", PYTHONPATH="/x")
        assert (seen["AWS_REGION"], seen["AWS_DEFAULT_REGION"], seen["AWS_PROFILE"]) == ("eu-west-1", "eu-west-1", "p")
        assert not {"SECRET", "PYTHONPATH"} & seen.keys()

    def test_of_the_function_take_precedence(self) -> None:
        assert variables_for(function(variables={"TZ": "Europe/Paris"}))["TZ"] == "Europe/Paris"

    def test_of_managed_instances_have_the_concurrency(self) -> None:
        seen = variables_for(function(managed_instances=16))
        assert seen["AWS_LAMBDA_MAX_CONCURRENCY"] == "16"
        assert seen["AWS_LAMBDA_INITIALIZATION_TYPE"] == "lambda-managed-instances"
        assert seen["AWS_LAMBDA_LOG_FORMAT"] == "JSON"

    def test_of_snap_start_have_its_initialization_type(self) -> None:
        assert variables_for(function(snap_start=True))["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"


class TestTheCommand:
    def test_is_the_wrapper_with_python_and_bootstrap(self) -> None:
        assert function().command == ("/opt/winterbourne", sys.executable, "/var/runtime/bootstrap.py")

    def test_is_the_bootstrap_under_python_without_a_wrapper(self) -> None:
        assert function(wrapper="", bootstrap="b.py").command == (sys.executable, "b.py")
