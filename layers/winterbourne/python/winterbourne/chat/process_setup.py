"""Process setup of the chat and the tool worker: settings, redaction, log, HTTP connection pool."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aws_lambda_powertools import Logger

from winterbourne import on_startup
from winterbourne.chat.infra import http_pool, redaction, telemetry
from winterbourne.chat.infra.unhandled_errors import log_unhandled
from winterbourne.chat.settings import Settings

__all__ = ["set_up_process"]

AWS_SECRET_VARIABLES: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
"""Secret variables that Lambda sets. https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""


def set_up_process(environment: Mapping[str, str]) -> tuple[Settings, Logger]:
    """Read the settings and set up redaction of all output before anything is written.

    Raises:
        SettingsError: A setting is invalid; the message names the variable.
    """
    settings = Settings.from_environment(environment)
    redaction.register(*settings.secret_values(), *map(environment.get, AWS_SECRET_VARIABLES))
    on_startup(lambda: log_unhandled(asyncio.get_running_loop(), log_messages=settings.log.log_messages))
    http_pool.configure(settings.http)
    return settings, telemetry.make_logger(service=settings.log.service_name)
