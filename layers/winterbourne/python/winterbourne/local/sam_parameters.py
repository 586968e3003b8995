"""Prints the parameters of a deployment as `sam` takes them: its stage's, and over them those given.

Used by `make deploy`: `sam` itself drops all parameters of the stage as soon as its command line names one.
"""

import sys

from samcli.cli.types import CfnParameterOverridesType
from samcli.lib.config.samconfig import SamConfig

__all__ = ["merge_parameters"]


def merge_parameters(stage: str, given: str, folder: str = ".") -> str:
    """Merge the parameters of a stage in samconfig.toml, in any form that `sam` takes, with those given, which win."""
    own = SamConfig(folder).get_all(["deploy"], "parameters", stage).get("parameter_overrides", "")
    parse = CfnParameterOverridesType().convert
    merged = {**parse(own, None, None), **parse(given, None, None)}
    return " ".join('{}="{}"'.format(name, value.replace('"', '\\"')) for name, value in merged.items())


if __name__ == "__main__":
    print(merge_parameters(*sys.argv[1:]))  # noqa: T201 - the output of the program
