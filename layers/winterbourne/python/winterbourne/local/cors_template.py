"""The `Cors` property of a function URL, as a SAM template has it.

Reads only what has one plain meaning here: values as they stand, `!Ref` of a parameter's default, and of an `!If`
the branch that configures something. Whatever else a template computes has to come from the flags.
"""

from pathlib import Path
from typing import Any

from winterbourne.local.cors import Cors

__all__ = ["TemplateError", "read_cors"]


class TemplateError(ValueError):
    """The template has nothing we can use; the message says why."""


def read_cors(template: Path) -> Cors:
    """The CORS configuration of the first function URL in a template.

    Raises:
        TemplateUnreadable: It cannot be read, or has no such thing.
    """
    document = _load_template(template)
    for resource in document.get("Resources", {}).values():
        properties = resource.get("Properties", {})
        # A function has its URL as a property, or the URL is a resource of its own.
        url = properties if resource.get("Type") == "AWS::Lambda::Url" else properties.get("FunctionUrlConfig", {})
        if cors := url.get("Cors"):
            return _parse_cors(_resolve_intrinsics(cors, document.get("Parameters", {})))
    raise TemplateError(f"{template} has no function URL with a Cors property")


def _parse_cors(properties: dict[str, Any]) -> Cors:
    def string_list(name: str) -> tuple[str, ...]:
        value = properties.get(name) or []
        return tuple(part.strip() for part in (value.split(",") if isinstance(value, str) else value) if part)

    return Cors(
        allow_origins=string_list("AllowOrigins"),
        allow_methods=string_list("AllowMethods"),
        allow_headers=string_list("AllowHeaders"),
        expose_headers=string_list("ExposeHeaders"),
        allow_credentials=bool(properties.get("AllowCredentials")),
        max_age=properties.get("MaxAge"),
    )


def _resolve_intrinsics(value: Any, parameters: dict[str, Any]) -> Any:
    """Intrinsic functions, written by the loader as {"!Name": argument}, → values."""
    match value:
        case {"!Ref": name}:
            return parameters.get(name, {}).get("Default")
        case {"!If": [_, *branches]}:
            return next(
                (_resolve_intrinsics(branch, parameters) for branch in branches if branch != {"!Ref": "AWS::NoValue"}),
                None,
            )
        case dict():
            return {key: _resolve_intrinsics(inner, parameters) for key, inner in value.items()}
        case list():
            return [_resolve_intrinsics(inner, parameters) for inner in value]
        case _:
            return value


def _load_template(template: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]  # noqa: PLC0415 - only development has it, and only this needs it
    except ImportError:
        raise TemplateError("reading a template needs PyYAML, which `make install` brings") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Keeps the intrinsic functions' short forms."""

    def short_form(loader: Any, name: str, node: Any) -> dict[str, Any]:
        if isinstance(node, yaml.ScalarNode):
            return {f"!{name}": loader.construct_scalar(node)}
        if isinstance(node, yaml.SequenceNode):
            return {f"!{name}": loader.construct_sequence(node, deep=True)}
        return {f"!{name}": loader.construct_mapping(node, deep=True)}

    Loader.add_multi_constructor("!", short_form)
    try:
        document = yaml.load(template.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
    except (OSError, yaml.YAMLError) as error:
        raise TemplateError(f"{template} cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise TemplateError(f"{template} is no template")
    return document
