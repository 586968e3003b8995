"""Replaces times in stored items by relative ones: a conversation's epochs are numbered, other times are offsets.

A time in an unexpected unit, epoch or distance matches nothing and stays as it is, so that it is noticed. Distances
have a tolerance of seconds, since tests run on slow machines.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["with_relative_times"]

Item = Mapping[str, Any]
Conversation = tuple[str, str]

SLACK_MS: Final = 10_000
DAY_MS: Final = 86_400_000
WINDOWS_S: Final = {"requests": 60, "tokens": 86_400}
CREATED: Final = re.compile(r'"(?:created_ms|epoch)":(\d+)')
BODY_TIME: Final = re.compile(r'("(?:created_ms|epoch|expires_at_s|lease_until_ms)":)([1-9]\d*)')
EXACT: Final = ("created_ms", "epoch")


def with_relative_times(items: Sequence[Item], *, lease_s: int, ttl_days: int) -> list[dict[str, Any]]:
    """The same items without absolute times; counters of successive minutes or days are merged."""
    epochs = _epochs(items)
    # A stop signal lasted an hour in the recorded stores, and a quarter of one since: nobody reads it that late.
    short = dict.fromkeys((900_000, 3_600_000), " + 1 h")
    laters = {0: "", lease_s * 1000: f" + {lease_s} s", **short, ttl_days * DAY_MS: f" + {ttl_days} d"}
    return list(_summed(_Times(epochs, laters).item(item) for item in items))


def _conversation(item: Item) -> Conversation:
    kind, caller, *rest = item["pk"].split("#")
    return caller, rest[0] if kind == "messages" else item["sk"]


def _epochs(items: Sequence[Item]) -> dict[Conversation, list[int]]:
    """The epochs of each conversation, in order."""
    found: dict[Conversation, set[int]] = defaultdict(set)
    for item in items:
        kind = item["pk"].split("#")[0]
        if kind == "messages":
            found[_conversation(item)].add(int(item["sk"].split("#")[0]))
        elif kind == "conversations":
            found[_conversation(item)] |= set(map(int, CREATED.findall(item["body"].decode())))
    return {conversation: sorted(epochs) for conversation, epochs in found.items()}


class _Times:
    """Makes the times of items relative.

    Args:
        epochs: Of each conversation.
        laters: The text for each known distance in milliseconds.
    """

    def __init__(self, epochs: Mapping[Conversation, list[int]], laters: Mapping[int, str]) -> None:
        self._epochs = epochs
        self._laters = laters

    def item(self, item: Item) -> dict[str, Any]:
        """One item with relative times."""
        kind = item["pk"].split("#")[0]
        if kind == "limits":
            return self._counter(item)
        epochs = self._epochs[_conversation(item)]
        own = dict(item)
        if kind == "messages":
            epoch, *place = item["sk"].split("#")
            epochs = [int(epoch)] if epoch.isdecimal() and len(epoch) == 14 else [0]
            own["sk"] = "#".join([f"<epoch {self._number(item, int(epoch))}>", *place])
        elif kind == "conversations":
            own["body"] = BODY_TIME.sub(lambda m: m[1] + self._in_body(m[1], int(m[2]), epochs), item["body"].decode())
        else:
            own["number"] = self._after(int(item["number"]), epochs)
        return own | {name: self._named(name, item[name], epochs) for name in _times_of(item)}

    def _counter(self, item: Item) -> dict[str, Any]:
        """A rate limit counter of a minute or a day: it must be of the time of writing, and expire with its window."""
        what, window = item["sk"].split("#")
        size_s = WINDOWS_S[what]
        last_s = max(epoch for epochs in self._epochs.values() for epoch in epochs) // 1000
        ends_s = (int(window) + 1) * size_s
        is_then = abs(last_s - ends_s) <= size_s + 60
        name = {60: "minute", 86_400: "day"}[size_s]
        ending = "<its end>" if int(item["expires_at_s"]) == ends_s else item["expires_at_s"]
        return {**item, "sk": f"{what}#<{name}>" if is_then else item["sk"], "expires_at_s": ending}

    def _number(self, item: Item, epoch: int) -> int:
        return self._epochs[_conversation(item)].index(epoch) + 1

    def _in_body(self, name: str, value: int, epochs: list[int]) -> str:
        return self._named(name.strip('":'), value, epochs)

    def _named(self, name: str, value: Any, epochs: list[int]) -> str:
        if name in EXACT:
            return f"<epoch {epochs.index(value) + 1}>" if value in epochs else str(value)
        return self._after(int(value) * (1000 if name.endswith("_s") else 1), epochs, str(value))

    def _after(self, at_ms: int, epochs: list[int], otherwise: str = "") -> str:
        """A time as its distance from the last epoch."""
        for later_ms, text in self._laters.items():
            if abs(at_ms - epochs[-1] - later_ms) < SLACK_MS:
                return f"<then{text}>"
        return otherwise or str(at_ms)


def _times_of(item: Item) -> list[str]:
    """The names of the times an item has; SQLite stores 0 for a missing one, DynamoDB omits it."""
    return [name for name in ("expires_at_s", "updated_ms") if int(item.get(name, 0))]


def _summed(items: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Add up counters with the same name."""
    counters: dict[tuple[str, str], dict[str, Any]] = {}
    for item in items:
        if not item["pk"].startswith("limits#"):
            yield item
        elif there := counters.get((item["pk"], item["sk"])):
            there["number"] = int(there["number"]) + int(item["number"])
        else:
            counters[item["pk"], item["sk"]] = item
    yield from counters.values()
