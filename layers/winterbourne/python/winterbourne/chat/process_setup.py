"""Process setup of the chat and the tool worker: settings, redaction, log, HTTP connection pool."""

import asyncio
import logging
from collections.abc import Mapping, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Final

from aws_lambda_powertools import Logger

from winterbourne import on_shutdown, on_stall, on_startup
from winterbourne.chat.infra import http_pool, redaction, telemetry
from winterbourne.chat.infra.unhandled_errors import log_unhandled
from winterbourne.chat.settings import Settings, is_secret, variables_set
from winterbourne.chat.settings_variable import unpack_settings

if TYPE_CHECKING:
    from winterbourne.chat.infra.otlp import Tracer

__all__ = ["make_tracer", "set_up_process"]

AWS_SECRET_VARIABLES: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
"""Secret variables that Lambda sets. https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""

_NO_ARGUMENTS: Final[Mapping[str, object]] = {}
_LOGGER: Final = logging.getLogger(__name__)


def set_up_process(
    environment: MutableMapping[str, str], arguments: Mapping[str, object] = _NO_ARGUMENTS
) -> tuple[Settings, Logger]:
    """Read the settings and set up redaction of all output before anything is written.

    Args:
        environment: The environment variables; those in SETTINGS are added.
        arguments: Settings by the names of their fields, as `Chat` takes them; a variable that is set wins.

    Raises:
        SettingsError: A setting is invalid; the message names the variable. Or another chat of this process has set the
            HTTP pool differently.
    """
    redaction.register(*(str(value) for name, value in arguments.items() if is_secret(name.upper())))
    unpack_settings(environment)
    variables = {name.lower(): environment[name] for name in variables_set(environment)}
    settings = Settings.of(**{**arguments, **variables})
    redaction.register(*settings.secret_values(), *map(environment.get, AWS_SECRET_VARIABLES))
    on_startup(lambda: log_unhandled(asyncio.get_running_loop(), log_messages=settings.log.log_messages))
    http_pool.configure(settings.http)
    logger = telemetry.make_logger(service=settings.log.service_name)
    on_stall(partial(telemetry.record_stall, settings.log.service_name, settings.log.metrics, logger))
    if overridden := sorted(name.upper() for name in arguments.keys() & variables.keys()):
        _LOGGER.info("variables win over arguments: %s", ", ".join(overridden), extra={"variables_win": overridden})
    return settings, logger


def make_tracer(settings: Settings) -> "Tracer | None":
    """What traces the requests of this process; None if no collector is named. It sends what is left at shutdown.

    Raises:
        SettingsError: A setting of the traces is invalid.
    """
    if not settings.traces.otel_exporter_otlp_endpoint:
        return None
    from winterbourne.chat.infra.otlp import Tracer  # noqa: PLC0415 - only where traces are exported

    tracer = Tracer(settings.traces, settings.log)
    on_shutdown(tracer.close)
    return tracer
