"""`docs/reference/costs.md`: every figure follows from the formula, the template, and what a chat uses."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.bench import log_cost
from tests.bench.bench_cost import LENGTHS, MEMORY_MB, cost
from tests.bench.door_cost import RATES, Chat
from tests.bench.month_cost import FREE, OTHER_RATES, Watching, flood, month, watching
from tests.bench.used import QUESTIONS, Used, used
from tests.project.test_doors import CHATS
from tests.stack import ROOT, Stack
from winterbourne.chat.providers import anthropic, bedrock, openai

PAGE = (ROOT / "docs/reference/costs.md").read_text()
MODES = ("full", "lean", "off")
COUNTS = (0, 1000, 1_000_000)
TOKENS = (2000, 200)
SECRETS = 2


def section(heading: str) -> str:
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table below its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def fixed(mode: str) -> Watching:
    """What CloudWatch has of a stack, used or not; three tools and one model are found by queries."""
    stack = Stack(Metrics=mode)
    alarms = stack.of_type("AWS::CloudWatch::Alarm").values()
    queries = [json.dumps(alarm) for alarm in alarms if "SELECT" in json.dumps(alarm)]
    named = sum(len([m for m in alarm.get("Metrics", [{}]) if "Expression" not in m]) for alarm in alarms)
    found = sum(3 if "service, tool" in query else 1 for query in queries)
    return Watching(len(stack.of_type("AWS::CloudWatch::Dashboard")), named, found)


def told(kind: str, mode: str) -> Used:
    """What the page says that a request uses, with what only the request itself knows."""
    (cells,) = [row for row in rows(section("What one chat uses")) if row[0] == NAMES[kind]]
    log_bytes = int(cells[1 + MODES.index(mode)].replace(",", ""))
    return replace(used(kind, mode), log_bytes=log_bytes)


NAMES = {"tools": "five tools", "long": "long, 1,000 words", "stranger": "a stranger"}


def dollars(amounts: Iterable[float]) -> list[str]:
    return [f"${amount:,.2f}" for amount in amounts]


def parts(chats: int) -> dict[str, float]:
    return month(chats, CHATS[0], told("tools", "full"), TOKENS, SECRETS)


def of_cloudwatch(mode: str, chats: int, free: Watching | None = None) -> float:
    return watching(fixed(mode), chats, told("tools", mode)).dollars(free)


def month_rows() -> list[list[str]]:
    """The table of a month."""
    lines = {name: [parts(chats)[name] for chats in COUNTS] for name in parts(0)}
    for mode in MODES:
        lines[f"CloudWatch, `{mode}`"] = [of_cloudwatch(mode, chats) for chats in COUNTS]
    for mode in MODES:
        lines[f"**all, `{mode}`**"] = [sum(parts(chats).values()) + of_cloudwatch(mode, chats) for chats in COUNTS]
    for mode in MODES:
        lines[f"CloudWatch, `{mode}`, less what is free"] = [of_cloudwatch(mode, chats, FREE) for chats in COUNTS]
    return [[name, *dollars(amounts)] for name, amounts in lines.items()]


def idle_rows() -> list[list[str]]:
    """The table of what a stack costs that nobody asks."""
    secrets, have = parts(0)["secrets"], {mode: fixed(mode) for mode in MODES}
    return [
        [
            *(f"`{mode}`", str(SECRETS), str(each.alarms + each.queried), str(each.dashboards)),
            *dollars(secrets + each.dollars(free) for free in (None, FREE)),
        ]
        for mode, each in have.items()
    ]


def flood_rows() -> list[list[str]]:
    """The table of a flood: by how many environments there may be, one of strangers and one of callers."""
    refused = flood(1, told("stranger", "full").log_bytes)
    seconds = CHATS[0].seconds
    each = month(1000, CHATS[0], told("tools", "full"), TOKENS, 0)
    answered = 3600 / seconds * (sum(each.values()) / 1000 + told("tools", "full").log_bytes / 1e9 * 0.50)
    return [[f"{count:,}", *dollars([count * refused, count * answered])] for count in (10, 40, 1000)]


class TestAMonth:
    def test_costs_what_the_formula_gives(self) -> None:
        assert rows(section("A month")) == month_rows()

    def test_is_of_the_chat_and_the_model_that_the_page_names(self) -> None:
        text = " ".join(section("A month").split())
        assert f"{CHATS[0].seconds} seconds" in text
        assert f"{TOKENS[0]:,} of input and {TOKENS[1]} of output of `nova-2-lite`" in text
        assert "nova-2-lite" in bedrock.DEFAULT_MODEL
        assert len(Stack().of_type("AWS::SecretsManager::Secret")) == SECRETS

    def test_has_the_rates_in_its_formula(self) -> None:
        formula = re.findall(r"\d+\.\d+", section("A month").partition("```text")[2].partition("```")[0])
        of_lambda = [RATES[name] for name in ("lambda_gb_s", "lambda_request", "transfer_gb")]
        assert sorted(map(float, formula)) == sorted(rate.dollars for rate in (*of_lambda, *OTHER_RATES.values()))


class TestWhenNobodyAsks:
    def test_a_stack_costs_its_secrets_its_alarms_and_its_dashboard(self) -> None:
        assert rows(section("When nobody asks")) == idle_rows()

    def test_the_readme_says_so(self) -> None:
        readme = " ".join((ROOT / "README.md").read_text().split())
        amounts = [parts(0)["secrets"] + fixed(mode).dollars() for mode in ("full", "lean", "off")]
        costs = "costs [{} a month](docs/reference/costs.md)"
        said = f"{costs} with all metrics and alarms, the default of prod, {{}} with lean ones, the default of dev"
        assert f"{said}, or {{}} with `Metrics=off`".format(*dollars(amounts)) in readme


class TestUse:
    @pytest.mark.parametrize("kind", QUESTIONS)
    def test_is_what_a_request_leaves_behind(self, kind: str) -> None:
        counted = [used(kind, mode) for mode in MODES]
        (cells,) = [row for row in rows(section("What one chat uses")) if row[0] == NAMES[kind]]
        metrics = [str(len(each.metrics)) for each in counted]
        assert cells[4:] == [*metrics, str(counted[0].written), str(counted[0].read)]
        for mode, each in zip(MODES, counted, strict=True):
            assert told(kind, mode).log_bytes == pytest.approx(each.log_bytes, rel=0.15)


class TestAFlood:
    def test_costs_an_hour_of_what_may_run_at_once(self) -> None:
        assert rows(section("What a flood costs")) == flood_rows()

    def test_is_capped_by_what_is_reserved(self) -> None:
        assert flood(40, 1000) == pytest.approx(4 * flood(10, 1000))


class TestRates:
    def test_are_those_of_the_formula(self) -> None:
        table = rows(section("Rates"))
        assert [[row[0], float(row[1]), row[2].strip("<>"), row[3]] for row in table] == [
            [rate.unit, rate.dollars, rate.page, rate.source] for rate in OTHER_RATES.values()
        ]


class TestWatching:
    """How `tests/bench/month_cost` computes."""

    USED = Used(2000, frozenset({("Chats", "s"), ("Requests", "s")}), {}, 3, 4)

    def test_charges_metrics_for_the_hours_in_which_they_have_values(self) -> None:
        assert watching(Watching(), 73, self.USED).dollars() == pytest.approx(2 * 0.30 / 10 + 73 * 2e-6 * 0.50)
        assert watching(Watching(), 7300, self.USED).dollars() == pytest.approx(2 * 0.30 + 7300 * 2e-6 * 0.50)

    def test_charges_nothing_below_the_free_tier_but_for_queries(self) -> None:
        assert Watching(3, 10, 2, 10, 5).dollars(FREE) == pytest.approx(2 * 0.10)
        assert Watching(4, 11, 2, 11, 6).dollars(FREE) == pytest.approx(3.00 + 3 * 0.10 + 0.30 + 0.50)

    def test_reads_secrets_twelve_times_an_hour_at_most(self) -> None:
        chat = Chat(1, 0, 0, 0)
        a_few, many = (month(chats, chat, self.USED, (0, 0), 1)["secrets"] for chats in (10, 10_000))
        assert a_few == pytest.approx(0.40 + 10 * 12 * 5e-6)
        assert many == pytest.approx(0.40 + 730 * 12 * 5e-6)


class TestLambda:
    ROW = re.compile(r"^\| \w[^|]* \| ([\d.]+) \| \d+ ms \|((?: \$[\d.]+ \|)+)$", re.MULTILINE)

    def test_has_the_durations_the_bench_assumes(self) -> None:
        assert [float(seconds) for seconds, _ in self.ROW.findall(PAGE)] == [
            round(length.duration_s, 1) for length in LENGTHS
        ]

    def test_follows_from_the_formula(self) -> None:
        for length, (_, amounts) in zip(LENGTHS, self.ROW.findall(PAGE), strict=True):
            shown = [float(price) for price in re.findall(r"[\d.]+", amounts)]
            assert shown == [round(cost(length.duration_s, memory_mb), 3) for memory_mb in MEMORY_MB]


class TestWhatResumingCosts:
    SECTION = section("What resuming costs")

    def test_is_computed_from_what_the_log_writes(self) -> None:
        assert rows(self.SECTION) == [
            [
                str(speed),
                f"${1000 * log_cost.log_dollars(speed, kept=True):.3f}",
                *(
                    f"{log_cost.share(speed, model, kept=True, with_input=True):.2%}"
                    f" ({log_cost.share(speed, model, kept=True):.2%})"
                    for model in log_cost.MODELS
                ),
            ]
            for speed in log_cost.SPEEDS
        ]

    @pytest.mark.parametrize(("with_input", "told"), [(True, "below 1 % with"), (False, "of the output alone with")])
    def test_says_from_which_speed_on_it_is_little(self, *, with_input: bool, told: str) -> None:
        speeds = re.search(rf"{told} (\d+), (\d+), (\d+), (\d+)", self.SECTION)
        assert speeds
        assert [int(speed) for speed in speeds.groups()] == [
            log_cost.speed_from_which(model, with_input=with_input) for model in log_cost.MODELS
        ]

    def test_is_for_the_providers_default_models(self) -> None:
        defaults = openai.DEFAULT_MODEL, anthropic.DEFAULT_MODEL, bedrock.DEFAULT_MODEL
        assert all(any(model in default for default in defaults) for model in [*log_cost.MODELS][1:])
