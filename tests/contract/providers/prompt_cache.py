"""A provider's prompt cache, as the real ones keep it: what it reads and writes of a request, and what that costs.

Sources: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching,
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html,
https://platform.openai.com/docs/guides/prompt-caching. Nothing expires here, and a token is four bytes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

__all__ = ["Block", "PromptCache", "Reading", "blocks_of", "prefixes"]

LOOK_BACK = 20
"""How many blocks before a mark an older entry is found."""


@dataclass(frozen=True)
class Block:
    """One block of a prompt: where it is, its kind, its bytes without marks, and how long its mark lives."""

    place: str
    kind: str
    content: bytes
    ttl: str = ""

    @property
    def tokens(self) -> int:
        return -(-len(self.content) // 4)


@dataclass(frozen=True)
class Reading:
    """The input of one request, in tokens: read from the cache, written to it, and neither."""

    read: int
    written: int
    fresh: int
    cost: float
    """In tokens at the price of fresh input."""

    @property
    def total(self) -> int:
        return self.read + self.written + self.fresh


@dataclass
class PromptCache:
    """The cache of one model.

    Attributes:
        min_tokens: The length of a prefix below which nothing is kept.
        write: The price of a written token, beside one that is neither written nor read; of an hour's mark `write_1h`.
        read: The price of a token that is read.
        needs_marks: Whether only what is marked is kept; else every prefix is, of requests with one key.
        readings: What it has done for each request.
        marked: For each request, the place and the digest of each prefix that was marked.
    """

    min_tokens: int
    write: float = 1.25
    write_1h: float = 2.0
    read: float = 0.1
    needs_marks: bool = True
    readings: list[Reading] = field(default_factory=list)
    marked: list[list[tuple[str, str]]] = field(default_factory=list)
    _entries: set[str] = field(default_factory=set)

    def use(self, blocks: Sequence[Block], key: str = "") -> Reading:
        """Answer one request from the cache."""
        digests = [key + digest for digest in prefixes(blocks)]
        lengths = [sum(block.tokens for block in blocks[: at + 1]) for at in range(len(blocks))]
        marks = [at for at, block in enumerate(blocks) if block.ttl or not self.needs_marks]
        looked_at = (at for mark in marks for at in range(max(mark - LOOK_BACK, 0), mark + 1))
        found = {at for at in looked_at if digests[at] in self._entries}
        read = lengths[max(found)] if found else 0
        kept = [at for at in marks if lengths[at] >= self.min_tokens]
        self._entries.update(digests[at] for at in kept)
        written = max(lengths[kept[-1]] - read, 0) if kept else 0
        price = self.write_1h if kept and blocks[kept[-1]].ttl == "1h" else self.write
        fresh = (lengths[-1] if lengths else 0) - read - written
        self.readings.append(Reading(read, written, fresh, read * self.read + written * price + fresh))
        self.marked.append([(blocks[at].place, digests[at]) for at in marks] if self.needs_marks else [])
        return self.readings[-1]

    @property
    def cost(self) -> float:
        """Of all requests."""
        return sum(reading.cost for reading in self.readings)

    @property
    def share_read(self) -> float:
        """The share of all input that was read."""
        return sum(reading.read for reading in self.readings) / sum(reading.total for reading in self.readings)


def prefixes(blocks: Sequence[Block]) -> Iterator[str]:
    """The SHA-256 of the prompt up to the end of each block."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(b"%d %b" % (len(block.content), block.content))
        yield digest.hexdigest()


def blocks_of(dialect: str, body: Mapping[str, Any]) -> list[Block]:
    """The blocks of a request in the order of the cache: tools, system prompt, messages."""
    config = body.get("toolConfig") or {}
    tools: Any = config.get("tools", []) if dialect == "bedrock" else body.get("tools") or []
    system: Any = body.get("system") or body.get("instructions") or []
    blocks = [*_read("tools", tools), *_read("system", [{"text": system}] if isinstance(system, str) else system)]
    for message in body.get("messages") or body.get("input") or ():
        content = [message] if dialect in {"chat", "responses"} else message["content"]
        blocks += _read("messages", content, message.get("role", "").encode())
    return blocks


def _read(place: str, parts: Sequence[Any], role: bytes = b"") -> list[Block]:
    """The blocks of one list; a cache point marks the one before it, or an empty one where there is none."""
    blocks: list[Block] = []
    for part in parts:
        if "cachePoint" in part:
            last = blocks.pop() if blocks else Block(place, "nothing", b"")
            blocks.append(Block(place, last.kind, last.content, part["cachePoint"].get("ttl", "5m")))
            continue
        content = {name: value for name, value in part.items() if name != "cache_control"}
        control = part.get("cache_control") or {}
        ttl = control.get("ttl", "5m") if control else ""
        kind = str(part.get("type") or next(iter(part)))
        blocks.append(Block(place, kind, role + orjson.dumps(content), ttl))
    return blocks
