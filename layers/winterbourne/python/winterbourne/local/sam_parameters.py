"""Prints the parameters of a deployment as `sam` takes them: its stage's, and over them those given.

Used by `make deploy`: `sam` itself drops all parameters of the stage as soon as its command line names one.
"""

import sys

from samcli.cli.types import CfnParameterOverridesType
from samcli.lib.config.samconfig import SamConfig

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings_variable import parse_settings

__all__ = ["merge_parameters"]


def merge_parameters(stage: str, given: str, folder: str = ".") -> str:
    """Merge the parameters of a stage in samconfig.toml, in any form that `sam` takes, with those given, which win.

    Of `Settings`, and those of the tool worker, each entry is merged for itself.

    Raises:
        SettingsError: The entries of such a parameter are malformed.
    """
    parse = CfnParameterOverridesType().convert
    own = parse(SamConfig(folder).get_all(["deploy"], "parameters", stage).get("parameter_overrides", ""), None, None)
    merged = {**own, **(over := parse(given, None, None))}
    for name in {"Settings", "ToolWorkerSettings"} & own.keys() & over.keys():
        entries = {**parse_settings(own[name]), **parse_settings(over[name])}
        merged[name] = ";".join(f"{entry}={value.replace(';', ';;')}" for entry, value in entries.items())
    return " ".join('{}="{}"'.format(name, value.replace('"', '\\"')) for name, value in merged.items())


if __name__ == "__main__":
    try:
        print(merge_parameters(*sys.argv[1:]))  # noqa: T201 - the output of the program
    except SettingsError as error:
        sys.exit(str(error))
