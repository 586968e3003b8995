"""`override` marks methods that replace one of a base class, for type checkers; `typing` has it only since Python 3.12.

At run time it is nothing: type checkers know `typing_extensions` themselves, so it need not be installed.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["override"]

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method: Any) -> Any:
        """Return the method."""
        return method
