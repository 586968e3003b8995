"""The variable SETTINGS, which carries any number of others: `NAME=value;NAME=value`.

A template names the variables of a function one by one. Through this one a deployment sets every setting, and what the
tools read, without a parameter for each.
"""

import re
from collections.abc import MutableMapping
from typing import Final

from winterbourne.chat.errors import SettingsError

__all__ = ["parse_settings", "unpack_settings"]

# Patterns are compiled where they are needed: most functions have no SETTINGS, and all have cold starts.
_ENTRY: Final = r"(?:[^;]|;;)+"
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"

# What Lambda sets, or has read before this process started.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
_RESERVED: Final = (
    r"_(HANDLER|X_\w+)|(AWS_)?LAMBDA_\w+|AWS_(DEFAULT_)?REGION|AWS_(EXECUTION|CONTAINER|(SECRET_)?ACCESS|SESSION)_\w+"
)


def unpack_settings(environ: MutableMapping[str, str]) -> None:
    """Set the variables that SETTINGS names, except those that have a value already. A second call changes nothing.

    Args:
        environ: The environment of the process.

    Raises:
        SettingsError: As for `parse_settings`; nothing is set then.
    """
    variables = parse_settings(environ.get("SETTINGS", ""))
    environ.update({name: value for name, value in variables.items() if not environ.get(name)})


def parse_settings(text: str) -> dict[str, str]:
    """The variables in the text of SETTINGS.

    White space around names and values is dropped, and so are empty entries. A semicolon in a value is written twice.

    Raises:
        SettingsError: An entry is not NAME=value, or its name is reserved by Lambda or there twice. The message gives
            the number of the entry or its name, never a value.
    """
    variables: dict[str, str] = {}
    for number, entry in enumerate(filter(str.strip, re.findall(_ENTRY, text)), start=1):
        name, equals, value = (part.strip() for part in entry.replace(";;", ";").partition("="))
        if not (equals and re.fullmatch(_NAME, name)):
            raise SettingsError(f"SETTINGS: entry {number} is not NAME=value; a semicolon in a value is written twice")
        if re.fullmatch(_RESERVED, name):
            raise SettingsError(f"SETTINGS: {name} is reserved by Lambda")
        if name in variables:
            raise SettingsError(f"SETTINGS: {name} is there twice")
        variables[name] = value
    return variables
