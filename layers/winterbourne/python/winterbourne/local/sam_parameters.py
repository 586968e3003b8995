"""Prints the parameters of a deployment as `sam` takes them: its stage's, and over them those given.

Used by `make deploy`: `sam` itself drops all parameters of the stage as soon as its command line names one.
"""

import sys
from typing import Any

from click import BadParameter
from samcli.cli.types import CfnParameterOverridesType
from samcli.lib.config.samconfig import SamConfig

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings_variable import parse_settings

__all__ = ["merge_parameters", "stage_parameters"]


def merge_parameters(stage: str, given: str, folder: str = ".") -> str:
    """The parameters of a stage and those given, as `sam` takes them; see `stage_parameters`."""
    merged = stage_parameters(stage, given, folder)
    return " ".join('{}="{}"'.format(name, value.replace('"', '\\"')) for name, value in merged.items())


def stage_parameters(stage: str, given: str, folder: str = ".") -> dict[str, str]:
    """Merge the parameters of a stage in samconfig.toml, in any form that `sam` takes, with those given, which win.

    Of `Settings`, and those of the tool worker, each entry is merged for itself; `Settings=""` takes all of them away.

    Raises:
        SettingsError: The entries of such a parameter are malformed.
        ValueError: `sam` itself could not read the parameters.
    """
    own = _parse(SamConfig(folder).get_all(["deploy"], "parameters", stage).get("parameter_overrides", ""))
    merged = {**own, **(over := _parse(given))}
    for name in (name for name in ("Settings", "ToolWorkerSettings") if own.get(name) and over.get(name)):
        entries = {**parse_settings(own[name]), **parse_settings(over[name])}
        merged[name] = ";".join(f"{entry}={value.replace(';', ';;')}" for entry, value in entries.items())
    return merged


def _parse(overrides: Any) -> dict[str, str]:
    try:
        return dict(CfnParameterOverridesType().convert(overrides, None, None))
    except BadParameter as error:
        raise ValueError(str(error)) from None


if __name__ == "__main__":
    try:
        print(merge_parameters(*sys.argv[1:]))  # noqa: T201 - the output of the program
    except (SettingsError, ValueError) as error:
        sys.exit(f"the parameters of the stage, or those given in PARAMETERS, cannot be read: {error}")
