"""The report of a run: a verdict for each claim, as JSON and as a page of Markdown. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from winterbourne.local.verify.claims import Claim
from winterbourne.local.verify.deployment import State, Verdict

__all__ = ["Report", "Result", "exit_status"]

_MARKS: Final[dict[State, str]] = {"proved": "proved", "failed": "**failed**", "not measured": "not measured"}


@dataclass(frozen=True)
class Result:
    """What became of one claim."""

    claim: Claim
    verdict: Verdict
    seconds: float = 0.0

    def line(self) -> str:
        """For the screen."""
        words = f": {self.verdict.words}" if self.verdict.words else ""
        return f"{self.verdict.state:<12}  {self.claim.id}{words}  {_figures(self.verdict)}".rstrip()


@dataclass
class Report:
    """A report, as far as it is written.

    Attributes:
        about: What was measured and when, by name.
        results: A result for each claim that has one.
        missing: The claims that have none, and why.
        left: Names of stacks that could not be deleted, or were kept.
    """

    about: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    missing: Sequence[Result] = ()
    left: Sequence[str] = ()

    @property
    def _all(self) -> list[Result]:
        return [*self.results, *self.missing]

    def counts(self) -> dict[State, int]:
        """How many claims have each verdict."""
        found = Counter(result.verdict.state for result in self._all)
        return {state: found[state] for state in _MARKS}

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        claims = [
            {"id": r.claim.id, "title": r.claim.title, "page": r.claim.page, "seconds": round(r.seconds, 1)}
            | {"verdict": r.verdict.state, "words": r.verdict.words, "figures": dict(r.verdict.figures)}
            for r in self._all
        ]
        return {**self.about, "counts": self.counts(), "claims": claims, "left_behind": list(self.left)}

    def as_markdown(self) -> str:
        """A page for people."""
        counts = ", ".join(f"{number} {state}" for state, number in self.counts().items())
        about = "".join(f"- {name}: {_cell(_listed(value))}\n" for name, value in self.about.items())
        rows = "".join(self._row(result) for result in self._all)
        left = f"\n**Left behind:** {', '.join(self.left)}\n" if self.left else "\nNothing is left behind.\n"
        head = "| claim | verdict | figures | AWS says |\n| --- | --- | --- | --- |\n"
        return f"# What was verified on AWS: {counts}\n\n{about}\n{head}{rows}{left}"

    def _row(self, result: Result) -> str:
        verdict, claim = result.verdict, result.claim
        words = f"{_MARKS[verdict.state]}{': ' if verdict.words else ''}{_cell(verdict.words)}"
        return (
            f"| {_cell(claim.title)} (`{claim.id}`) | {words} | {_cell(_figures(verdict))} | [page]({claim.page}) |\n"
        )


def exit_status(report: Report, *, kept: bool) -> int:
    """0 if every claim is proved, 1 if one failed or a stack could not be deleted, 3 if some were not measured."""
    counts = report.counts()
    return 1 if counts["failed"] or (report.left and not kept) else 3 if counts["not measured"] else 0


def _figures(verdict: Verdict) -> str:
    figures = verdict.figures.items()
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures)


def _listed(value: object) -> object:
    return ", ".join(f"{name}={each}" for name, each in value.items()) if isinstance(value, dict) else value


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
