"""The worker: one call in, one answer out."""

from chat import worker_tools
from chat.toolkit.discover import discover
from tool_worker import tools
from tool_worker.tools.simulate_savings import simulate_savings


def test_every_tool_of_the_worker_is_declared_alike_in_the_chat() -> None:
    here = {tool.name: tool.schema for tool in discover(tools)}
    there = {tool.name: tool.schema for tool in discover(worker_tools)}
    assert here == there


def test_savings_without_risk_grow_as_the_formula_says() -> None:
    assert simulate_savings.function
    outcomes = simulate_savings.function(100, 1, 0, 0)
    assert (outcomes.paid_in, outcomes.median, outcomes.percentile_10) == (1200, 1200, 1200)


def test_savings_at_risk_have_a_range() -> None:
    assert simulate_savings.function
    outcomes = simulate_savings.function(100, 10)
    assert outcomes.percentile_10 < outcomes.median < outcomes.percentile_90
