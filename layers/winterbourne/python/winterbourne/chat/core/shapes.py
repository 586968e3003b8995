"""Whether a value has the shape of a type, as msgspec sees it. Pure."""

from typing import Any

import msgspec

__all__ = ["has_shape"]


def has_shape(value: Any, type_: Any) -> bool:
    """Whether `msgspec.convert` takes a value, such as decoded JSON, for one of this type."""
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        return False
    return True
