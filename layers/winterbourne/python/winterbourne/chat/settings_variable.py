"""The variable SETTINGS, which carries any number of others: `NAME=value;NAME=value`.

A template names the variables of a function one by one. Through this one a deployment sets every setting, and what the
tools read, without a parameter for each.
"""

import re
from collections.abc import MutableMapping
from typing import Final

from winterbourne.chat.errors import SettingsError

__all__ = ["unpack_settings"]

_ENTRY: Final = re.compile(r"(?:[^;]|;;)+")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# What Lambda sets, or has read before this process started.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
_RESERVED: Final = re.compile(
    r"_(HANDLER|X_\w+)|(AWS_)?LAMBDA_\w+|AWS_(DEFAULT_)?REGION|AWS_(EXECUTION|CONTAINER|(SECRET_)?ACCESS|SESSION)_\w+"
)


def unpack_settings(environ: MutableMapping[str, str]) -> None:
    """Set the variables that SETTINGS names, except those that have a value already.

    White space around names and values is dropped, and so are empty entries. A semicolon in a value is written twice.
    A second call changes nothing.

    Args:
        environ: The environment of the process.

    Raises:
        SettingsError: An entry is not NAME=value, or its name is reserved by Lambda or there twice; nothing is set
            then. The message gives the number of the entry or its name, never a value.
    """
    variables: dict[str, str] = {}
    entries = filter(str.strip, _ENTRY.findall(environ.get("SETTINGS", "")))
    for number, entry in enumerate(entries, start=1):
        name, equals, value = (part.strip() for part in entry.replace(";;", ";").partition("="))
        if not (equals and _NAME.fullmatch(name)):
            raise SettingsError(f"SETTINGS: entry {number} is not NAME=value; a semicolon in a value is written twice")
        if _RESERVED.fullmatch(name):
            raise SettingsError(f"SETTINGS: {name} is reserved by Lambda")
        if name in variables:
            raise SettingsError(f"SETTINGS: {name} is there twice")
        variables[name] = value
    environ.update({name: value for name, value in variables.items() if not environ.get(name)})
