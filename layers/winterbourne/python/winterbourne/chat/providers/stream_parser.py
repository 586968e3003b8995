"""Base class of the providers' sans-I/O stream parsers: frames in, model events out.

Errors are stored in `failure` instead of being raised, so that events parsed before an error are not lost.
"""

import contextlib
import json
from abc import abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from winterbourne.chat.core.events import ModelEvent
from winterbourne.chat.errors import ModelError, ModelGarbled
from winterbourne.chat.infra.sse_parser import SseParser
from winterbourne.chat.providers.assembler import TurnAssembler

__all__ = ["FrameDecoder", "StreamParser", "decode_leniently", "encode_arguments"]

T = TypeVar("T")

Frame = TypeVar("Frame")


class FrameDecoder(Protocol):
    """Splits bytes into frames."""

    def feed(self, data: bytes, /) -> Iterable[Any]:
        """The frames that this data completes; iterating may raise ModelGarbled."""

    def close(self) -> list[Any]:
        """What is left at the end of the stream: a frame whose terminator is missing, if any."""


class StreamParser(msgspec.Struct, Generic[Frame]):
    """Parses one response in a provider's format into events, wherever the bytes are split. Pure.

    A subclass implements `_handle_frame`, and sets `frame_decoder` if its format is not server-sent events.

    Attributes:
        assembler: Builds the events.
        failure: The error, if there was one. Events returned before it and together with it are valid; none follow.
        ended: Whether the TurnEnded has been returned.
        frame_decoder: Splits the bytes into frames.
    """

    assembler: TurnAssembler = msgspec.field(default_factory=TurnAssembler)
    failure: ModelError | None = None
    ended: bool = False
    frame_decoder: FrameDecoder = msgspec.field(default_factory=partial(SseParser, make_error=ModelGarbled))

    def feed(self, data: bytes) -> list[ModelEvent]:
        """Parse the data of one read; return the events that it completed, adjacent text merged.

        Afterwards `failure` is set if the provider reported an error or violated its own format.
        """
        try:
            for frame in self.frame_decoder.feed(data):
                if frame:  # no format gives a meaning to an empty frame
                    self._handle_frame(frame)
                if self.assembler.ended:
                    self.ended = True
                    break
        except ModelError as error:
            self.failure = error
        return self.assembler.drain_events(is_last=self.failure is not None)

    def close(self) -> list[ModelEvent]:
        """Handle the end of the connection, clean or not. Returns at least the TurnEnded, or sets `failure`."""
        try:
            with contextlib.suppress(ModelGarbled):  # an incomplete frame: truncated, which `_handle_eof` decides on
                for frame in filter(None, self.frame_decoder.close()):
                    self._handle_frame(frame)
            if not self.assembler.ended:
                self._handle_eof()
        except ModelError as error:
            self.failure = error
        self.ended = self.assembler.ended
        return self.assembler.drain_events(is_last=True)

    @abstractmethod
    def _handle_frame(self, frame: Frame) -> None:
        """Pass the contents of one frame to the assembler. Raises ModelError."""

    def _handle_eof(self) -> None:
        """Handle a stream without its final frame: not an error if the stop reason is known."""
        self.assembler.finish()


def decode_leniently(data: bytes, struct_type: type[T]) -> T:
    """Decode JSON that a strict decoder has rejected: invalid UTF-8, NaN and lone surrogates are tolerated.

    Raises:
        ModelGarbled: The data is not JSON, or does not match the struct.
    """
    try:
        value = json.loads(data.decode(errors="replace"), parse_constant=str)
        # A lone surrogate is not a character: the round trip through UTF-16 joins pairs and replaces lone surrogates.
        text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return msgspec.json.decode(text, type=struct_type)
    except (ValueError, RecursionError) as error:
        raise ModelGarbled("the model's provider sent data that violates its own format") from error


def encode_arguments(value: dict[str, Any]) -> str:
    """Encode arguments that arrived as an object instead of as JSON text.

    Raises:
        ModelGarbled: They are nested too deeply to be encoded.
    """
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError as error:
        raise ModelGarbled("the model's provider sent arguments that are nested too deeply") from error
