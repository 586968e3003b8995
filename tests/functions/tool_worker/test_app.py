"""The tool worker: its tools, its Lambda handler, and retiring an environment with stuck threads."""

from chat import tools as chat_tools
from chat.tools import worker
from tests.chat.processes import run
from tool_worker import tools
from tool_worker.tools.simulate_savings import simulate_savings
from winterbourne.chat.tool_runtime.discovery import discover


def test_every_tool_of_the_worker_is_declared_identically_in_the_chat() -> None:
    in_worker = {tool.name: tool.schema for tool in discover(tools)}
    in_chat = {tool.name: tool.schema for tool in discover(worker)}
    assert in_worker == in_chat


def test_no_shipped_tool_takes_longer_than_the_setting_says() -> None:
    shipped = [*discover(tools), *discover(chat_tools)]
    assert {tool.name for tool in shipped} > {"simulate_savings", "get_weather"}
    assert {tool.options.timeout_s for tool in shipped} == {None}


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
app.worker._executor.add(hang)

def call(tool, **arguments):
    event = {"tool": tool, "arguments": arguments, "timeout_s": 5, "request_id": "chat-1"}
    return asyncio.run(app.handler(event, CONTEXT))
"""


def test_a_call_returns_the_result_as_json_or_an_error_message() -> None:
    output = run(f"""{CALL}
for arguments in ({{"monthly_amount": 100, "years": 1}}, {{"monthly_amount": 100}}):
    answer = call("simulate_savings", **arguments)
    print(answer["is_error"], answer["content"][:60])
""")
    assert 'False {"paid_in":1200.0' in output
    assert "True The arguments of simulate_savings do not fit" in output
    assert "chat-1" in output  # the log names the chat's request


def test_an_environment_with_stuck_threads_retires_after_the_response() -> None:
    output = run(f"{CALL}\nprint(call('hang'), retired)", TOOL_ABANDONED_LIMIT="1")
    assert "was stopped.', 'is_error': True} [True]" in output


def test_what_a_tool_sends_carries_the_trace_of_its_invocation() -> None:
    output = run(f"""{CALL}
from winterbourne.chat import tool
from winterbourne.chat.infra import http_pool
from winterbourne.invocation import TRACE_ID

@tool
async def look() -> str:
    \"\"\"Look.\"\"\"
    return str(http_pool.outgoing_headers.get())

app.worker._executor.add(look)
TRACE_ID.set("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
print(call("look"))
""")
    assert "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01" in output
