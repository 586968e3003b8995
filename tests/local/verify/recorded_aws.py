"""AWS as a measurement sees it, by a record of what it says; all is as it should be unless a test says otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tests.local.verify.scripted_door import Door, Request, Response, healthy
from winterbourne.local.verify.deployment import Deployment, Report, Rollback

__all__ = ["RecordedAws", "on_aws"]


QUIETLY: Final = Rollback("ROLLBACK_COMPLETE", ())


@dataclass
class RecordedAws:
    """The record.

    Attributes:
        init_ms: Of each cold start.
        restore_ms: Of each restored snapshot.
        cold: How many of the requests at once meet a new environment.
        sums: What metrics add up to, once they have arrived.
        states: The alarms, and their states at first.
        calms_after_s: When alarms are quiet.
        fires_after_s: How long the incident has to last until its alarm fires.
        closes: Whether callers are refused without a permission of the URL.
        opens: Whether they are let in when it is back.
        surrounding: What holds at the moment.
        history: What has held.
    """

    door: Door = field(default_factory=lambda: Door(healthy))
    init_ms: float | None = 640.0
    restore_ms: float | None = 410.0
    cold: int = 5
    sums: Mapping[str, float] = field(default_factory=lambda: {"Chats": 5, "OutputTokens": 100, "Errors": 1})
    arrive_after_s: float = 90.0
    states: Mapping[str, str] = field(default_factory=dict)
    calms_after_s: float = 0.0
    fires_after_s: float = 120.0
    others: Sequence[str] = ()
    closes: bool = True
    opens: bool = True
    rollback: Rollback = QUIETLY
    surrounding: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)

    def reports(self, request_ids: Sequence[str]) -> Sequence[Report]:
        cold = {*request_ids[: self.cold]}
        times = [(name, *((self.init_ms, self.restore_ms) if name in cold else (None, None))) for name in request_ids]
        return [Report(name, 12.0, init, restore, memory_mb=71) for name, init, restore in times]

    def renew(self, *, snap_start: bool) -> str:
        self.renewed.append(f"http://{'snapshot' if snap_start else 'plain'}-{len(self.renewed)}")
        return self.renewed[-1]

    def metric_sum(self, name: str, start: datetime, end: datetime, *, namespace: str = "Winterbourne") -> float | None:
        assert start < end
        assert (start.second, end.second) == (0, 0)
        assert (namespace == "AWS/Lambda") == (name == "Errors")
        waited_s = (self.door.now() - end).total_seconds()
        return self.sums.get(name) if waited_s >= self.arrive_after_s else None

    def alarm_states(self) -> Mapping[str, str]:
        is_calm = self.door.now_s >= self.calms_after_s
        return {name: "OK" if is_calm else state for name, state in self.states.items()}

    def alarms_fired(self, since: datetime) -> Sequence[str]:
        lasted_s = (self.door.now() - since).total_seconds()
        is_provoked = bool(self.door.asked or self.surrounding)
        return [*self.states, *self.others] if is_provoked and lasted_s >= self.fires_after_s else []

    @contextmanager
    def _while(self, what: str) -> Iterator[None]:
        self.history.append(what)
        self.surrounding.append(what)
        yield
        self.surrounding.remove(what)

    def without_url_permission(self, action: str) -> Any:
        return self._while(f"without {action}")

    def denied(self, *actions: str) -> Any:
        return self._while(f"denied {', '.join(actions)}")

    def concurrency(self, limit: int) -> Any:
        return self._while(f"concurrency {limit}")

    def fail_first_deployment(self) -> Rollback:
        return self.rollback


def on_aws(**recorded: Any) -> tuple[Deployment, RecordedAws]:
    """A deployment on such an account; a URL whose permission is missing refuses its callers."""
    aws = RecordedAws(**recorded)

    def answer(request: Request) -> Response:
        is_closed = bool(aws.surrounding) if aws.closes else False
        return (
            Response(403) if is_closed or (aws.history and not aws.surrounding and not aws.opens) else healthy(request)
        )

    aws.door.script = answer
    return aws.door.deployment(aws), aws
