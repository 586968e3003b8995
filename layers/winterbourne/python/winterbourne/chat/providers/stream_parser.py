"""What the cores of all providers share: frames in, a turn's events out, and an error that never swallows events."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from winterbourne.chat.core.events import ModelEvent
from winterbourne.chat.errors import ModelError, ModelGarbled
from winterbourne.chat.providers.assembler import Turn

__all__ = ["Frames", "TurnParser", "decoded", "encoded"]

T = TypeVar("T")

Frame = TypeVar("Frame")


class Frames(Protocol[Frame]):
    """Cuts bytes into frames."""

    def feed(self, data: bytes, /) -> list[Frame]:
        """The frames that are complete now. Raises ModelGarbled."""
        ...

    def close(self) -> list[Frame]:
        """What may be left of a frame whose end was forgotten."""
        ...


class TurnParser(ABC, Generic[Frame]):
    """A provider's format, pure: bytes in, events out, wherever the bytes are cut.

    Args:
        frames: Cuts the bytes.
        taken: Ids of the history's calls; see `Turn`.
    """

    def __init__(self, frames: Frames[Frame], taken: Collection[str] = ()) -> None:
        self.failure: ModelError | None = None
        """What went wrong. Events given before and together with it are valid; none follow."""
        self._frames = frames
        self._turn = Turn(taken)

    @property
    def ended(self) -> bool:
        """Whether the TurnEnded has been given."""
        return self._turn.ended

    def feed(self, data: bytes) -> list[ModelEvent]:
        """Take what one read brought; give the events that it completed, neighbouring text joined.

        Afterwards `failure` says whether the provider reported an error or broke its own format.
        """
        try:
            for frame in self._frames.feed(data):
                if frame:  # an empty one says nothing in any format
                    self._take(frame)
                if self._turn.ended:
                    break
        except ModelError as error:
            self.failure = error
        return self._turn.take(is_last=self.failure is not None)

    def close(self) -> list[ModelEvent]:
        """The connection ended, well or not. Gives at least the TurnEnded, or sets `failure`."""
        try:
            self._leftover()
            if not self._turn.ended:
                self._end()
        except ModelError as error:
            self.failure = error
        return self._turn.take(is_last=True)

    @abstractmethod
    def _take(self, frame: Frame) -> None:
        """Tell the turn what one frame says. Raises ModelError."""

    def _end(self) -> None:
        """The stream is over without its last frame: fine where the turn is known to have ended."""
        self._turn.end()

    # Private methods

    def _leftover(self) -> None:
        try:
            for frame in filter(None, self._frames.close()):
                self._take(frame)
        except ModelGarbled:
            pass  # half a frame: the stream was cut, which `_end` judges


def decoded(data: bytes, decode: Callable[[bytes], T], kind: type[T]) -> T:
    """JSON → a struct. What a strict decoder refuses and still can be read, broken UTF-8 and lone surrogates, is read.

    Raises:
        ModelGarbled: It is not JSON, or not what the format allows.
    """
    try:
        return decode(data)
    except (ValueError, RecursionError):
        return _leniently(data, kind)


def encoded(value: dict[str, Any]) -> str:
    """Arguments that came as an object instead of its text → their text.

    Raises:
        ModelGarbled: They nest deeper than anybody reads.
    """
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError as error:
        raise ModelGarbled("the model's provider sent arguments that nest too deep") from error


def _leniently(data: bytes, kind: type[T]) -> T:
    try:
        value = json.loads(data.decode(errors="replace"), parse_constant=str)
        # Half a surrogate pair is no character; the way through UTF-16 joins whole pairs and marks the others.
        text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError) as error:
        raise ModelGarbled("the model's provider sent what its own format does not allow") from error
