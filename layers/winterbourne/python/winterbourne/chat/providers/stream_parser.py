"""What the cores of all providers share: frames in, a turn's events out, and an error that never swallows events."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from winterbourne.chat.core.events import ModelEvent
from winterbourne.chat.errors import ModelError, ModelGarbled
from winterbourne.chat.providers.assembler import TurnAssembler

__all__ = ["FrameDecoder", "StreamParser", "decode_json", "encode_arguments"]

T = TypeVar("T")

Frame = TypeVar("Frame")


class FrameDecoder(Protocol[Frame]):
    """Cuts bytes into frames."""

    def feed(self, data: bytes, /) -> list[Frame]:
        """The frames that are complete now. Raises ModelGarbled."""
        ...

    def close(self) -> list[Frame]:
        """What may be left of a frame whose end was forgotten."""
        ...


class StreamParser(ABC, Generic[Frame]):
    """A provider's format, pure: bytes in, events out, wherever the bytes are cut.

    Args:
        frames: Cuts the bytes.
        taken: Ids of the history's calls; see `Turn`.
    """

    def __init__(self, frame_decoder: FrameDecoder[Frame], used_ids: Collection[str] = ()) -> None:
        self.failure: ModelError | None = None
        """What went wrong. Events given before and together with it are valid; none follow."""
        self._frame_decoder = frame_decoder
        self._assembler = TurnAssembler(used_ids)

    @property
    def ended(self) -> bool:
        """Whether the TurnEnded has been given."""
        return self._assembler.ended

    def feed(self, data: bytes) -> list[ModelEvent]:
        """Take what one read brought; give the events that it completed, neighbouring text joined.

        Afterwards `failure` says whether the provider reported an error or broke its own format.
        """
        try:
            for frame in self._frame_decoder.feed(data):
                if frame:  # an empty one says nothing in any format
                    self._handle_frame(frame)
                if self._assembler.ended:
                    break
        except ModelError as error:
            self.failure = error
        return self._assembler.drain_events(is_last=self.failure is not None)

    def close(self) -> list[ModelEvent]:
        """The connection ended, well or not. Gives at least the TurnEnded, or sets `failure`."""
        try:
            self._handle_remaining_frames()
            if not self._assembler.ended:
                self._handle_eof()
        except ModelError as error:
            self.failure = error
        return self._assembler.drain_events(is_last=True)

    @abstractmethod
    def _handle_frame(self, frame: Frame) -> None:
        """Tell the turn what one frame says. Raises ModelError."""

    def _handle_eof(self) -> None:
        """The stream is over without its last frame: fine where the turn is known to have ended."""
        self._assembler.finish()

    def _handle_remaining_frames(self) -> None:
        try:
            for frame in filter(None, self._frame_decoder.close()):
                self._handle_frame(frame)
        except ModelGarbled:
            pass  # half a frame: the stream was cut, which `_end` judges


def decode_json(data: bytes, decode: Callable[[bytes], T], struct_type: type[T]) -> T:
    """JSON → a struct. What a strict decoder refuses and still can be read, broken UTF-8 and lone surrogates, is read.

    Raises:
        ModelGarbled: It is not JSON, or not what the format allows.
    """
    try:
        return decode(data)
    except (ValueError, RecursionError):
        return _decode_leniently(data, struct_type)


def encode_arguments(value: dict[str, Any]) -> str:
    """Arguments that came as an object instead of its text → their text.

    Raises:
        ModelGarbled: They nest deeper than anybody reads.
    """
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError as error:
        raise ModelGarbled("the model's provider sent arguments that nest too deep") from error


def _decode_leniently(data: bytes, struct_type: type[T]) -> T:
    try:
        value = json.loads(data.decode(errors="replace"), parse_constant=str)
        # Half a surrogate pair is no character; the way through UTF-16 joins whole pairs and marks the others.
        text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return msgspec.json.decode(text, type=struct_type)
    except (ValueError, RecursionError) as error:
        raise ModelGarbled("the model's provider sent what its own format does not allow") from error
