"""Base class of the providers' sans-I/O stream parsers: frames in, model events out.

Errors are stored in `failure` instead of being raised, so that events parsed before an error are not lost.
"""

import contextlib
import json
from abc import abstractmethod
from collections.abc import Iterable
from functools import partial
from types import UnionType
from typing import Any, Final, Generic, Protocol, TypeVar, get_args, get_origin

import msgspec

from winterbourne.chat.core.events import ModelEvent
from winterbourne.chat.errors import ModelError, ModelGarbled
from winterbourne.chat.infra.sse_parser import SseParser
from winterbourne.chat.providers.assembler import TurnAssembler

__all__ = ["FrameDecoder", "StreamParser", "decode_leniently", "encode_arguments", "text_of", "token_count"]

_TEXT_FIELDS: Final = ("text", "content", "value", "thinking", "reasoning", "summary", "refusal")
_MAX_TOKEN_COUNT: Final = 10**9  # what is larger is no count

S = TypeVar("S", bound=msgspec.Struct)

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
        can_retract: Whether the turn can be taken back once it has begun.
    """

    assembler: TurnAssembler = msgspec.field(default_factory=TurnAssembler)
    failure: ModelError | None = None
    ended: bool = False
    frame_decoder: FrameDecoder = msgspec.field(
        default_factory=partial(SseParser, make_error=ModelGarbled, is_tolerant=True)
    )
    can_retract: bool = False

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
        except RecursionError:
            self.failure = ModelGarbled("the model's provider sent data that is nested too deeply")
        return self.assembler.drain_events(is_last=self.failure is not None)

    def close(self) -> list[ModelEvent]:
        """Handle the end of the connection, clean or not. Returns at least the TurnEnded, or sets `failure`."""
        try:
            # An incomplete frame: truncated, which `_handle_eof` decides on.
            with contextlib.suppress(ModelGarbled, RecursionError):
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


def decode_leniently(data: bytes, struct_type: type[S]) -> S:
    """Decode JSON that a strict decoder has rejected.

    Invalid UTF-8, NaN and lone surrogates are tolerated, and a value of another type than its field: it is read where
    its meaning is clear, else left out.

    Raises:
        ModelGarbled: The data is not a JSON object.
    """
    try:
        value = json.loads(data.decode(errors="replace"), parse_constant=str)
        value = value[0] if isinstance(value, list) and value else value  # Gemini puts its errors into an array
        # A lone surrogate is not a character: the round trip through UTF-16 joins pairs and replaces lone surrogates.
        text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return _convert_struct(dict(json.loads(text, parse_constant=str)), struct_type)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelGarbled("the model's provider sent data that violates its own format") from error


def _convert(value: Any, kind: Any) -> Any:
    """The value as the type, or None if it cannot be read as that."""
    kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind  # `X | None`
    if kind is Any or value is None:
        return value
    if get_origin(kind) is list:
        items = (_convert(item, get_args(kind)[0]) for item in (value if isinstance(value, list) else [value]))
        return [item for item in items if item is not None]
    if issubclass(kind, msgspec.Struct):
        return _convert_struct(value, kind) if isinstance(value, dict) else None
    if kind is str:
        return str(value) if isinstance(value, int | float) else text_of(value)
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(value, kind, strict=False)
    return None


def _convert_struct(value: dict[str, Any], kind: type[S]) -> S:
    fields = {field.name: (field.encode_name, field.type) for field in msgspec.structs.fields(kind)}
    found = {name: _convert(value.get(key), field_type) for name, (key, field_type) in fields.items()}
    return kind(**{name: each for name, each in found.items() if each is not None})


def text_of(value: Any) -> str:
    """The text in a value of any shape: a string, a part with text, or a list of these."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if isinstance(value, dict):
        return next(filter(None, (text_of(value.get(name)) for name in _TEXT_FIELDS)), "")
    return ""


def token_count(value: Any) -> int | None:
    """A number of tokens in any notation; None if it is none. Accounting never fails an answer."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        count = int(float(value))
        return count if 0 <= count <= _MAX_TOKEN_COUNT else None
    return None


def encode_arguments(value: Any) -> str:
    """Encode arguments that arrived as a JSON value instead of as JSON text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
