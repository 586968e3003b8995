"""The environment variables a function process starts with: Lambda's own, and what the user adds."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["LAYER_DIR", "FunctionConfig", "environment_variables"]

LAYER_DIR: Final = Path(__file__).resolve().parents[3]
"""The runtime layer as it lies in the tree; on Lambda it is /opt."""

# The user's own credentials and where to use them: on Lambda they are the execution role's.
CREDENTIAL_VARIABLES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "HOME",
)


@dataclass(frozen=True, kw_only=True)
class FunctionConfig:
    """The function to serve, as its deployment describes it.

    Args:
        task_root: The folder Lambda mounts as /var/task.
        handler: As the template spells it, such as `chat.app.handler`.
        name: The function's name.
        memory_mb: Its memory; told to the function, not enforced.
        timeout_s: Seconds an invocation may take.
        variables: Environment variables of its own.
        python: The Python it is run by; the one that runs us unless given.
        wrapper: The exec wrapper; empty starts `bootstrap` under Python as Lambda does without one.
        bootstrap: What Lambda's runtime would start.
        managed_instances: Invocations at once in one process; 0 is the ordinary kind of function.
        snap_start: Whether the process is restored before its first invocation.
    """

    task_root: Path
    handler: str
    name: str = "local"
    memory_mb: int = 512
    timeout_s: float = 30.0
    variables: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    wrapper: str = str(LAYER_DIR / "winterbourne")
    bootstrap: str = "/var/runtime/bootstrap.py"
    managed_instances: int = 0
    snap_start: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """What is executed: the wrapper with the Python and the bootstrap as its arguments."""
        runtime_command = (self.python, self.bootstrap)
        return (self.wrapper, *runtime_command) if self.wrapper else runtime_command

    @property
    def arn(self) -> str:
        """A made-up ARN; nothing answers to it."""
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}"

    @property
    def initialization_type(self) -> str:
        """What AWS_LAMBDA_INITIALIZATION_TYPE says."""
        if self.managed_instances:
            return "lambda-managed-instances"
        return "snap-start" if self.snap_start else "on-demand"


def environment_variables(
    function: FunctionConfig, *, runtime_api: str, log_stream: str, log_fd: int, user_environment: Mapping[str, str]
) -> dict[str, str]:
    """Every variable of one process. See "Defined runtime environment variables" in Lambda's guide.

    Args:
        function: What is served.
        runtime_api: Host and port.
        log_stream: A name of its own for each execution environment.
        log_fd: The file descriptor for log frames.
        user_environment: The user's own environment, of which only credentials and the region are taken.
    """
    region = user_environment.get("AWS_REGION") or user_environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    lambda_variables = {
        "_HANDLER": function.handler,
        "_LAMBDA_TELEMETRY_LOG_FD": str(log_fd),
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": _execution_env() if function.python == sys.executable else "",
        "AWS_LAMBDA_EXEC_WRAPPER": function.wrapper,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": function.initialization_type,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_MAX_CONCURRENCY": str(function.managed_instances or ""),
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_REGION": region,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": str(function.task_root),
        "LANG": "en_US.UTF-8",
        "PATH": os.defpath + ":/usr/local/bin:/opt/bin",
        "TZ": ":UTC",
    }
    credentials = {name: user_environment[name] for name in CREDENTIAL_VARIABLES if user_environment.get(name)}
    return {name: value for name, value in {**lambda_variables, **credentials, **function.variables}.items() if value}


def _execution_env() -> str:
    """What the runtime's own bootstrap would set; another Python than ours has to find it out by itself, as it does."""
    return f"AWS_Lambda_python{sys.version_info[0]}.{sys.version_info[1]}"
