"""Encoder for AWS event-stream messages (`application/vnd.amazon.eventstream`) that the Invoke API sends. Pure.

A message: total length u32, headers' length u32, CRC-32 of those eight bytes; headers; payload; CRC-32 of all before.
A header: name length u8, name, type u8 (7 is a string), value length u16, value. All big-endian.
https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import json
import struct
import zlib

from winterbourne.local.invocation import FunctionError

__all__ = ["encode_message", "invoke_complete", "payload_chunk"]

STRING_TYPE = 7


def encode_message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message. Header names may have at most 255 bytes, values 65,535."""
    encoded = b"".join(_encode_header(name.encode(), value.encode()) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    head = prelude + struct.pack(">I", zlib.crc32(prelude)) + encoded
    crc = zlib.crc32(payload, zlib.crc32(head))
    return b"".join((head, payload, struct.pack(">I", crc)))


def payload_chunk(data: bytes) -> bytes:
    """A PayloadChunk event: more of the response."""
    return encode_message(_event_headers("PayloadChunk", "application/octet-stream"), data)


def invoke_complete(error: FunctionError | None, log_result: str) -> bytes:
    """The InvokeComplete event, always the last; `log_result` is base64 or empty."""
    details = {"ErrorCode": error.type, "ErrorDetails": error.document.decode(errors="replace")} if error else {}
    if log_result:
        details["LogResult"] = log_result
    return encode_message(_event_headers("InvokeComplete", "application/json"), json.dumps(details).encode())


def _event_headers(event_type: str, content_type: str) -> dict[str, str]:
    return {":message-type": "event", ":event-type": event_type, ":content-type": content_type}


def _encode_header(name: bytes, value: bytes) -> bytes:
    return struct.pack(f">B{len(name)}sBH{len(value)}s", len(name), name, STRING_TYPE, len(value), value)
