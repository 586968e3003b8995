"""Tool registry: tools by name. Resolves a call to a validated call, or to the reason why it cannot run."""

import logging
from collections.abc import Iterable
from typing import Final

from winterbourne.chat.core.messages import ToolCall, ToolSchema
from winterbourne.chat.errors import InvalidToolDeclaration, ToolError
from winterbourne.chat.infra.exception_text import EXCEPTION_REDACTOR, ArgumentRedactor, exception_class_name
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime import keys
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.results import Outcome, failed, outcome_for_exception
from winterbourne.chat.tool_runtime.validated_call import ValidatedCall

__all__ = ["ToolRegistry"]

_LOGGER: Final = logging.getLogger(__name__)


class ToolRegistry:
    """Tools from any source.

    Args:
        tools: Their names must differ.
        settings: A tool is unavailable if a setting that it needs is not set here.

    Raises:
        InvalidToolDeclaration: Two tools have the same name, or a tool needs a setting that does not exist.
    """

    def __init__(self, tools: Iterable[Tool], settings: Settings) -> None:
        self._settings = settings
        self._tools: dict[str, Tool] = {}
        self._missing_settings: dict[str, str] = {}
        self.schemas: tuple[ToolSchema, ...] = ()
        self.add(tools)

    def add(self, tools: Iterable[Tool]) -> None:
        """Add tools: all of them or, if one is invalid, none."""
        added: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools or added.setdefault(tool.name, tool) is not tool:
                raise InvalidToolDeclaration(f"Two tools are named {tool.name}.")
        self._missing_settings |= {name: _first_missing_setting(tool, self._settings) for name, tool in added.items()}
        self._tools |= added
        self.schemas += tuple(tool.schema for tool in added.values())

    def resolve(self, tool_call: ToolCall, caller_id: str) -> ValidatedCall | Outcome:
        """The validated call to run, or the failed outcome of a call that cannot run."""
        if (tool := self._tools.get(tool_call.name)) is None:
            return failed(f"There is no tool named {tool_call.name}; the tools are {', '.join(self._tools) or 'none'}.")
        if missing := self._missing_settings[tool.name]:
            return failed(f"{tool.name} is not set up here: {missing} is not set. Tell the user; do not call it again.")
        try:
            return ValidatedCall.create(
                tool, tool.validate_arguments(tool_call.arguments), caller_id, tool_call.arguments
            )
        except ToolError as error:
            if error.__cause__ is not None:
                self._log_argument_error(tool, tool_call, error.__cause__)
            return failed(str(error))
        except BaseException as error:  # noqa: BLE001 - a tool's own type may raise anything, even SystemExit
            self._log_argument_error(tool, tool_call, error)
            return outcome_for_exception(tool.name, error)

    def metric_label(self, name: str) -> str:
        """The tool's name for metrics and logs, or `unknown`: a model may make up names, and labels must stay few."""
        return name if name in self._tools else "unknown"

    def _log_argument_error(self, tool: Tool, tool_call: ToolCall, error: BaseException) -> None:
        token = EXCEPTION_REDACTOR.set(
            None if self._settings.log.log_messages else ArgumentRedactor(tool_call.arguments)
        )
        try:
            _LOGGER.warning(
                "the arguments of tool %s could not be validated: %s",
                tool.name,
                exception_class_name(error),
                exc_info=error,
            )
        finally:
            EXCEPTION_REDACTOR.reset(token)


def _first_missing_setting(tool: Tool, settings: Settings) -> str:
    """The first setting that the tool needs and that is not set; empty if all are set.

    Raises:
        InvalidToolDeclaration: There is no such setting.
    """
    for name in tool.options.needs:
        if not keys.is_known_setting(name):
            raise InvalidToolDeclaration(f"Tool {tool.name} needs {name}, which is not a setting.")
        if not keys.is_set(settings, name):
            _LOGGER.warning("tool %s is not available: %s is not set", tool.name, name)
            return name
    return ""
