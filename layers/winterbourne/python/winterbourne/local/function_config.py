"""Configuration of the function to serve, and the environment variables its process starts with."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["FunctionConfig", "base_variables", "environment_variables"]

# The user's own AWS credentials and where to find them; on Lambda the execution role supplies them.
KEY_VARIABLES: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK")
PROFILE_VARIABLES: Final = ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME")
CREDENTIAL_VARIABLES: Final = KEY_VARIABLES + PROFILE_VARIABLES


@dataclass(frozen=True, kw_only=True)
class FunctionConfig:
    """The function to serve, as its deployment describes it.

    Attributes:
        task_root: The folder Lambda mounts as /var/task.
        handler: The handler as in the template, such as `chat.app.handler`.
        name: The function's name.
        memory_mb: Memory size reported to the function; not enforced.
        timeout_s: Timeout of an invocation in seconds.
        variables: The function's own environment variables.
        python: The Python interpreter that runs it; by default the current one.
        wrapper: The exec wrapper; if empty, Python starts `bootstrap` directly, as on Lambda without a wrapper.
        bootstrap: The file that Lambda's runtime would start.
        managed_instances: Concurrent invocations in one process; 0 for an ordinary function.
        snap_start: Whether the process is restored before its first invocation.
    """

    task_root: Path
    handler: str
    name: str = "local"
    memory_mb: int = 512
    timeout_s: float = 30.0
    variables: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    wrapper: str = ""
    bootstrap: str = "/var/runtime/bootstrap.py"
    managed_instances: int = 0
    snap_start: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """The command to execute: the wrapper with the Python interpreter and the bootstrap as its arguments."""
        return tuple(filter(None, (self.wrapper, self.python, self.bootstrap)))

    @property
    def arn(self) -> str:
        """A made-up ARN; no AWS resource has it."""
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}"

    @property
    def initialization_type(self) -> str:
        """The value of AWS_LAMBDA_INITIALIZATION_TYPE."""
        if self.managed_instances:
            return "lambda-managed-instances"
        return "snap-start" if self.snap_start else "on-demand"


def environment_variables(
    function: FunctionConfig, user_environment: Mapping[str, str], *, runtime_api: str, log_stream: str, log_fd: int
) -> dict[str, str]:
    """All variables of one process, as in "Defined runtime environment variables" of Lambda's guide.

    Args:
        function: The function to serve.
        user_environment: The user's own environment; only credentials and the region are copied from it.
        runtime_api: Host and port of the Runtime API.
        log_stream: Name of the log stream, unique for each execution environment.
        log_fd: The file descriptor for log frames.
    """
    lambda_variables = {
        "_HANDLER": function.handler,
        "_LAMBDA_TELEMETRY_LOG_FD": str(log_fd),
        # The value Lambda's bootstrap would set for this interpreter; any other determines it itself.
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info[1]}" if function.python == sys.executable else "",
        "AWS_LAMBDA_EXEC_WRAPPER": function.wrapper,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": function.initialization_type,
        "AWS_LAMBDA_LOG_FORMAT": "JSON" if function.managed_instances else "",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_MAX_CONCURRENCY": str(function.managed_instances or ""),
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": str(function.task_root),
    }
    variables = {**lambda_variables, **base_variables(function, user_environment)}
    return {name: value for name, value in variables.items() if value}


def base_variables(function: FunctionConfig, user_environment: Mapping[str, str]) -> dict[str, str]:
    """What any process of the function has, on Lambda or elsewhere: region, locale, credentials, its own variables."""
    region = user_environment.get("AWS_REGION") or user_environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "LANG": "en_US.UTF-8",
        "PATH": os.defpath + ":/usr/local/bin:/opt/bin",
        "TZ": ":UTC",
        **{name: user_environment[name] for name in CREDENTIAL_VARIABLES if user_environment.get(name)},
        **function.variables,
    }
