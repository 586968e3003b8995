"""Reads a function URL's `Cors` property from a SAM template.

Resolves only literal values, `Ref` (to the parameter's default) and `If` (to the branch that configures something).
Anything else that a template computes has to be given with flags.
"""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from winterbourne.local.cors import Cors

__all__ = ["TemplateError", "default_cors", "read_cors"]

# `*` stands for every header but `authorization` (Fetch Standard, "CORS non-wildcard request-header name").
ANY_REQUEST: Final = Cors(allow_methods=("*",), allow_headers=("*", "authorization"), expose_headers=("*",))


class TemplateError(ValueError):
    """The template cannot be used; the message says why."""


def default_cors(template: Path) -> Cors:
    """The methods and headers of a template, without its origins; ANY_REQUEST if it cannot be read or has none."""
    with contextlib.suppress(TemplateError):
        if (cors := read_cors(template)).allow_methods:
            return replace(cors, allow_origins=())
    return ANY_REQUEST


def read_cors(template: Path) -> Cors:
    """The CORS configuration of the first function URL in a template.

    Raises:
        TemplateError: It cannot be read, or has no function URL with CORS.
    """
    document = _load_template(template)
    for resource in document.get("Resources", {}).values():
        properties = resource.get("Properties", {})
        # The URL is either a property of the function or a resource of its own.
        url = properties if resource.get("Type") == "AWS::Lambda::Url" else properties.get("FunctionUrlConfig", {})
        if cors := url.get("Cors"):
            return _parse_cors(_resolve_intrinsics(cors, document.get("Parameters", {})))
    raise TemplateError(f"{template} has no function URL with a Cors property")


def _parse_cors(properties: dict[str, Any]) -> Cors:
    def string_list(name: str) -> tuple[str, ...]:
        value = properties.get(name) or []
        return tuple(part.strip() for part in (value.split(",") if isinstance(value, str) else value) if part)

    names = ("allow_origins", "allow_methods", "allow_headers", "expose_headers")
    lists: dict[str, Any] = {name: string_list(name.title().replace("_", "")) for name in names}
    return Cors(**lists, allow_credentials=bool(properties.get("AllowCredentials")), max_age=properties.get("MaxAge"))


def _resolve_intrinsics(value: Any, parameters: dict[str, Any]) -> Any:
    """Replace intrinsic functions, whose short form the loader represents as {"!Name": argument}, with values."""
    match value:
        case {"!Ref": name} | {"Ref": name}:
            return parameters.get(name, {}).get("Default")
        case {"!If": [_, *branches]} | {"Fn::If": [_, *branches]}:
            branch = next((branch for branch in branches if "AWS::NoValue" not in str(branch)), None)
            return _resolve_intrinsics(branch, parameters)
        case dict():
            return {key: _resolve_intrinsics(inner, parameters) for key, inner in value.items()}
        case list():
            return [_resolve_intrinsics(inner, parameters) for inner in value]
        case _:
            return value


def _load_template(template: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]  # noqa: PLC0415 - development dependency, only used here
    except ImportError:
        raise TemplateError("reading a template needs PyYAML, which `make install` installs") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        """A SafeLoader that accepts the short form of intrinsic functions."""

    def short_form(loader: Any, name: str, node: Any) -> dict[str, Any]:
        return {f"!{name}": getattr(loader, f"construct_{node.id}")(node)}  # a scalar, a sequence or a mapping

    Loader.add_multi_constructor("!", short_form)
    try:
        document = yaml.load(template.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
    except (OSError, yaml.YAMLError) as error:
        raise TemplateError(f"{template} cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise TemplateError(f"{template} is not a SAM template")
    return document
