"""The worker: one call in, one answer out."""

from chat.tools import worker
from tests.chat.processes import run
from tool_worker import tools
from tool_worker.tools.simulate_savings import simulate_savings
from winterbourne.chat.tool_runtime.discovery import discover


def test_every_tool_of_the_worker_is_declared_alike_in_the_chat() -> None:
    here = {tool.name: tool.schema for tool in discover(tools)}
    there = {tool.name: tool.schema for tool in discover(worker)}
    assert here == there


def test_savings_without_risk_grow_as_the_formula_says() -> None:
    assert simulate_savings.function
    outcomes = simulate_savings.function(100, 1, 0, 0)
    assert (outcomes.paid_in, outcomes.median, outcomes.percentile_10) == (1200, 1200, 1200)


def test_savings_at_risk_have_a_range() -> None:
    assert simulate_savings.function
    outcomes = simulate_savings.function(100, 10)
    assert outcomes.percentile_10 < outcomes.median < outcomes.percentile_90


CALL = """
from tool_worker import app
app._runner.add([hang])

def call(tool, **arguments):
    event = {"tool": tool, "arguments": arguments, "timeout_s": 5, "request_id": "chat-1"}
    return asyncio.run(app.handler(event, CONTEXT))
"""


def test_a_call_is_answered_with_the_result_as_json_or_with_a_sentence() -> None:
    said = run(f"""{CALL}
for arguments in ({{"monthly_amount": 100, "years": 1}}, {{"monthly_amount": 100}}):
    answer = call("simulate_savings", **arguments)
    print(answer["is_error"], answer["content"][:60])
""")
    assert 'False {"paid_in":1200.0' in said
    assert "True The arguments of simulate_savings do not fit" in said
    assert "chat-1" in said  # the log leads back to the chat's request


def test_an_environment_whose_threads_are_stuck_ends_after_the_answer() -> None:
    said = run(f"{CALL}\nprint(call('hang'), retired)", TOOL_ABANDONED_LIMIT="1")
    assert "was stopped.', 'is_error': True} [True]" in said
