"""Approvals: nothing is run that a person has not allowed, and what was allowed is run once."""

import asyncio
import json
import logging
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests.chat.stores import Clock
from tests.chat.tool_runtime.approving import KEY, Process, Till, approve, deny, memory_store
from tests.chat.tool_runtime.recording_clients import recorded_metrics, tool_call
from tests.clock import jumping
from winterbourne.chat.core.events import ToolApprovalRequested
from winterbourne.chat.core.history import USED_DECISION_RESULT
from winterbourne.chat.core.messages import Approval, Decision, ToolCall
from winterbourne.chat.errors import InvalidToolDeclaration, SettingsError, StorageUnavailable
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.storage.call_records import CallRecords
from winterbourne.chat.tool_runtime import approvals
from winterbourne.chat.tool_runtime.approvals import canonical_json
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor

WEEK_S = 7 * 86_400
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Harbour:
    """Processes of one chat, and what was paid."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.store = memory_store(self.clock)
        self.till = Till(**options)

    def process(self, **settings: Any) -> Process:
        return Process(self.till.pay, store=self.store, clock=self.clock, **settings)

    async def ask(self, **arguments: object) -> ToolCall:
        (call,), results = await self.process().ask(tool_call("pay", **arguments or {"euros": 5}))
        assert (results, self.till.paid) == ([], [])
        return call


class TestWhoIsAsked:
    @jumping
    async def test_a_person_before_a_call_is_run(self) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        assert isinstance(call.approval, Approval)
        assert call.approval.expires_at_s == harbour.clock.time_s + 14 * 86_400

    @jumping
    async def test_once_the_turn_is_whole(self) -> None:
        process = Harbour().process()
        async with process.executor.turn(process.client, approvals="yes_or_no") as group:
            group.start(tool_call("pay", euros=5))
            await asyncio.sleep(9)
            assert process.client.events == []
            await group.results()
        assert process.client.kinds("1") == ["ApprovalRequested"]

    @jumping
    async def test_nobody_if_the_turn_breaks_off(self) -> None:
        process = Harbour().process()
        async with process.executor.turn(process.client, approvals="yes_or_no") as group:
            group.start(tool_call("pay", euros=5))
            await asyncio.sleep(1)
        assert (process.client.kinds("1"), group.pending) == (["Started", "Finished"], {})

    @pytest.mark.parametrize("is_async", [True, False])
    @pytest.mark.parametrize(("euros", "message"), [(1, None), (10, ""), (100, "100 is much")])
    async def test_nobody_if_the_tool_says_so_of_these_arguments(
        self, *, is_async: bool, euros: int, message: str | None
    ) -> None:
        def approval(arguments: Any, context: ToolContext) -> bool | str:
            assert context.caller == "anna"
            return arguments.euros >= 10 if arguments.euros < 100 else f"{arguments.euros} is much"

        async def approval_later(arguments: Any, context: ToolContext) -> bool | str:
            return approval(arguments, context)

        harbour = Harbour(approval=approval_later if is_async else approval)
        pending, results = await harbour.process().ask(tool_call("pay", euros=euros))
        assert [call.approval.message for call in pending if call.approval] == ([] if message is None else [message])
        assert len(results) == len(harbour.till.paid) == (message is None)

    @pytest.mark.parametrize("outcome", [RuntimeError("no"), SystemExit(), None, 1, ""])
    async def test_a_tool_that_cannot_say_is_not_run(self, outcome: object) -> None:
        def approval(*_: object) -> object:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        harbour = Harbour(approval=approval)
        pending, results = await harbour.process().ask(tool_call("pay", euros=5))
        assert (harbour.till.paid, len(pending) + len(results)) == ([], 1)
        assert all(result.is_error for result in results)

    @jumping
    async def test_a_tool_that_does_not_say_in_time_is_not_run(self) -> None:
        async def approval(*_: object) -> bool:
            await asyncio.sleep(3600)
            return False

        harbour = Harbour(approval=approval)
        process = harbour.process()
        deadline = asyncio.get_running_loop().time() + 20
        async with process.executor.turn(process.client, deadline=deadline, approvals="yes_or_no") as group:
            group.start(tool_call("pay", euros=5))
            await group.results()
        assert (harbour.till.paid, process.client.finished[0].status) == ([], "timed_out")
        assert asyncio.get_running_loop().time() < deadline

    @jumping
    async def test_nobody_where_the_client_cannot_ask(self) -> None:
        harbour = Harbour()
        pending, (result,) = await harbour.process().ask(tool_call("pay", euros=5), approvals="none")
        assert (pending, harbour.till.paid) == ([], [])
        assert "needs a person's approval, which cannot be asked for here" in result.content

    @jumping
    async def test_nobody_about_arguments_that_do_not_fit(self) -> None:
        pending, (result,) = await Harbour().process().ask(tool_call("pay", euros="five"))
        assert (pending, result.is_error) == ([], True)

    async def test_only_a_chat_has_such_tools(self) -> None:
        with pytest.raises(InvalidToolDeclaration, match="need a store"):
            ToolExecutor([Till().pay])

    @jumping
    async def test_other_calls_run_meanwhile(self) -> None:
        @tool
        async def look() -> str:
            """Look."""
            return "calm"

        harbour = Harbour()
        process = Process(harbour.till.pay, look, store=harbour.store, clock=harbour.clock)
        pending, results = await process.ask(tool_call("pay", "1", euros=5), tool_call("look", "2"))
        assert ([call.id for call in pending], [one.tool_call_id for one in results]) == (["1"], ["2"])


class TestDecision:
    @jumping
    async def test_runs_the_call_in_another_process_a_week_later(self) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        harbour.clock.time_s += WEEK_S
        (result,) = await harbour.process().decide(call, decisions=[approve(call)])
        assert (harbour.till.paid, result.content) == ([5], '"paid the harbour master"')

    @jumping
    async def test_that_denies_tells_the_model_and_runs_nothing(self) -> None:
        harbour = Harbour()
        call, process = await harbour.ask(), harbour.process()
        (result,) = await process.decide(call, decisions=[deny(call, "too dear")])
        assert (harbour.till.paid, process.client.finished[0].status) == ([], "denied")
        assert result.content == "The user did not allow this call. too dear"

    @jumping
    async def test_that_is_missing_counts_as_denied(self) -> None:
        harbour = Harbour()
        call, other = await harbour.ask(), await harbour.ask(euros=6)
        first, second = await harbour.process().decide(call, other, decisions=[approve(other)])
        assert harbour.till.paid == [6]
        assert first.content.startswith("The user did not allow this call.")
        assert not second.is_error

    @jumping
    async def test_finds_its_call_where_the_client_did_not_send_back_what_was_asked(self) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        await harbour.process().decide(msgspec.structs.replace(call, approval=UNSET), decisions=[approve(call)])
        assert harbour.till.paid == [5]

    @jumping
    async def test_is_used_up_by_the_first_who_has_it(self) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        await harbour.process().decide(call, decisions=[approve(call)])
        (result,) = await harbour.process().decide(call, decisions=[approve(call)])
        assert (harbour.till.paid, result.is_error) == ([5], True)
        assert "used before" in result.content

    @jumping
    async def test_that_denied_cannot_be_turned_around(self) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        await harbour.process().decide(call, decisions=[deny(call)])
        await harbour.process().decide(call, decisions=[approve(call)])
        assert harbour.till.paid == []

    @jumping
    async def test_comes_too_late_after_two_weeks(self) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        harbour.clock.time_s += 2 * WEEK_S
        (result,) = await harbour.process().decide(call, decisions=[approve(call)])
        assert (harbour.till.paid, result.content) == (
            [],
            "The user's decision came too late, so this call was not run.",
        )

    @jumping
    async def test_runs_nothing_while_the_store_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        harbour = Harbour()
        call = await harbour.ask()

        async def fail(_: object) -> bool:
            raise StorageUnavailable

        monkeypatch.setattr(harbour.store, "compare_and_set", fail)
        (result,) = await harbour.process().decide(call, decisions=[approve(call)])
        assert (harbour.till.paid, result.content) == ([], approvals.UNAVAILABLE)

    @pytest.mark.parametrize("is_approved", [True, False])
    @jumping
    async def test_that_the_store_does_not_take_in_time_runs_nothing(self, *, is_approved: bool) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        harbour.store.compare_and_set = lambda _: asyncio.Event().wait()  # type: ignore[assignment,method-assign]
        process, deadline = harbour.process(), asyncio.get_running_loop().time() + 60
        async with process.executor.turn(
            process.client, caller_id="anna", conversation_id="c1", deadline=deadline
        ) as group:
            group.start(call, [approve(call) if is_approved else deny(call)])
            (result,) = await group.results()
        assert (harbour.till.paid, result.is_error) == ([], True)
        assert asyncio.get_running_loop().time() < deadline

    @jumping
    async def test_that_is_not_run_is_not_shown_as_started(self) -> None:
        harbour = Harbour()
        process, call = harbour.process(), await harbour.ask()
        for decision in (deny(call), approve(call), Decision(approval_id="1.a.b", approved=True)):
            process.client.batches.clear()
            await process.decide(call, decisions=[decision])
            assert process.client.kinds("1") == ["Finished"]

    @pytest.mark.parametrize("is_first", [True, False])
    @jumping
    async def test_of_two_that_contradict_each_other_the_one_that_denies_counts(self, *, is_first: bool) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        both = [deny(call), approve(call)] if is_first else [approve(call), deny(call)]
        await harbour.process().decide(call, decisions=both)
        assert harbour.till.paid == []

    @jumping
    async def test_is_looked_for_in_no_more_calls_than_a_turn_may_have(self) -> None:
        """A client may send a history with thousands that it has made up."""
        harbour = Harbour()
        call = await harbour.ask()
        made_up = [ToolCall(f"x{number}", "pay", "{}") for number in range(5)]
        process = harbour.process(tool_calls_per_turn=3)
        results = await process.decide(*made_up, call, decisions=[approve(call)])
        assert harbour.till.paid == []
        assert [("verified" in each.content, "Only 3" in each.content) for each in results] == [
            *[(True, False)] * 3,
            *[(False, True)] * 3,
        ]

    @jumping
    async def test_is_validated_by_what_the_tool_takes_now(self) -> None:
        harbour = Harbour()
        call = await harbour.ask(euros=5, to="me")

        @tool(name="pay", approval=True)
        async def pay(cents: int) -> None:
            """Pay."""
            harbour.till.paid.append(cents)

        process = Process(pay, store=harbour.store, clock=harbour.clock)
        (result,) = await process.decide(call, decisions=[approve(call)])
        assert (harbour.till.paid, result.is_error) == ([], True)

    @jumping
    async def test_of_a_call_that_was_stopped_cannot_be_used_again(self) -> None:
        harbour = Harbour(seconds=60)
        call, process = await harbour.ask(), harbour.process()
        deciding = asyncio.create_task(process.decide(call, decisions=[approve(call)]))
        await asyncio.sleep(1)
        deciding.cancel()
        await asyncio.gather(deciding, return_exceptions=True)
        assert [one.status for one in process.client.finished] == ["cancelled"]
        (result,) = await harbour.process().decide(call, decisions=[approve(call)])
        assert (harbour.till.paid, result.content) == ([5], USED_DECISION_RESULT)

    @jumping
    async def test_of_a_tool_that_is_gone_is_answered(self) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        (result,) = await Process(store=harbour.store, clock=harbour.clock).decide(call, decisions=[approve(call)])
        assert "no tool named pay" in result.content

    @pytest.mark.parametrize(("is_approved", "paid"), [(True, [5]), (False, [])])
    async def test_holds_for_a_tool_that_asks_no_longer(self, *, is_approved: bool, paid: list[int]) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        harbour.till = Till(approval=False)
        await harbour.process().decide(call, decisions=[approve(call) if is_approved else deny(call)])
        await harbour.process().decide(call, decisions=[approve(call)])
        assert harbour.till.paid == paid

    @jumping
    async def test_is_in_the_log_and_counted(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        harbour = Harbour()
        call = await harbour.ask()
        with recorded_metrics() as metrics:
            await harbour.process().decide(call, decisions=[deny(call, "a secret reason")])
        (record,) = [each for each in caplog.records if "a person denied" in each.message]
        assert ("Approvals", 1, "pay") in metrics
        assert (record.tool, record.tool_call_id, record.caller_id) == ("pay", "1", "anna")  # type: ignore[attr-defined]
        assert not hasattr(record, "reason")

    @jumping
    async def test_has_its_reason_in_the_log_only_where_messages_are(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        harbour, own = Harbour(), ToolSettings(signing_key=KEY)
        call, process = await harbour.ask(), harbour.process()
        records = CallRecords(harbour.store)
        process.executor = ToolExecutor(
            [harbour.till.pay], own, records=records, wall_clock=harbour.clock, log_messages=True
        )
        await process.decide(call, decisions=[deny(call, "too dear")])
        (record,) = [each for each in caplog.records if "a person denied" in each.message]
        assert record.reason == "too dear"  # type: ignore[attr-defined]

    @jumping
    async def test_may_come_after_the_answer_was_stopped_while_other_tools_ran(self) -> None:
        @tool
        async def look() -> None:
            """Look for long."""
            await asyncio.sleep(60)

        harbour = Harbour()
        process = Process(harbour.till.pay, look, store=harbour.store, clock=harbour.clock)
        asking = asyncio.create_task(process.ask(tool_call("pay", "1", euros=5), tool_call("look", "2")))
        await asyncio.sleep(1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (process.client.kinds("1"), process.client.kinds("2")) == (
            ["ApprovalRequested"],
            ["Started", "Finished"],
        )
        (asked,) = [event for event in process.client.events if isinstance(event, ToolApprovalRequested)]
        call = msgspec.structs.replace(tool_call("pay", "1", euros=5), approval=asked.approval)
        await harbour.process().decide(call, decisions=[approve(call)])
        assert harbour.till.paid == [5]


class TestEditedArguments:
    @jumping
    async def test_are_run_if_the_tool_allows_it_and_the_model_is_told(self) -> None:
        harbour = Harbour(approval_allows_edits=True)
        call = await harbour.ask()
        assert isinstance(call.approval, Approval)
        assert call.approval.allows_edits
        (result,) = await harbour.process().decide(call, decisions=[approve(call, arguments={"euros": 4})])
        told = json.loads(result.content)
        assert (harbour.till.paid, told) == (
            [4],
            {"arguments_changed_by_the_user": {"euros": 4}, "result": "paid the harbour master"},
        )

    @jumping
    async def test_run_nothing_if_the_tool_does_not_allow_it(self) -> None:
        harbour = Harbour()
        call = await harbour.ask()
        (result,) = await harbour.process().decide(call, decisions=[approve(call, arguments={"euros": 4})])
        assert (harbour.till.paid, result.content) == (
            [],
            "The arguments of this call may not be changed, so it was not run.",
        )

    @jumping
    async def test_are_none_if_they_say_the_same(self) -> None:
        harbour = Harbour()
        call = await harbour.ask(euros=5, to="me")
        (result,) = await harbour.process().decide(
            call, decisions=[approve(call, arguments={"to": "me", "euros": 5.0})]
        )
        assert (harbour.till.paid, result.content) == ([5], '"paid me"')

    @jumping
    async def test_are_validated(self) -> None:
        harbour = Harbour(approval_allows_edits=True)
        call = await harbour.ask()
        (result,) = await harbour.process().decide(call, decisions=[approve(call, arguments={"euros": "much"})])
        assert (harbour.till.paid, result.is_error) == ([], True)
        assert 'The user had changed the arguments to {"euros": "much"}.' in result.content


def attacks(call: ToolCall) -> Iterator[tuple[ToolCall, Decision, dict[str, str]]]:
    """Decisions that were never made, or are not on this call: (call, decision, where)."""
    assert isinstance(call.approval, Approval)
    chance, good = random.Random(1), call.approval.id
    expiry, nonce, mac = good.split(".")
    whole = approve(call)
    replace = msgspec.structs.replace

    def with_id(text: str) -> Decision:
        return Decision(approval_id=text, approved=True)

    while True:
        at, letter = chance.randrange(len(good)), chance.choice("0123456789abcdefXYZ_-.é\udc80")
        mutated = good[:at] + letter + good[at + 1 :]
        if mutated != good:
            yield call, with_id(mutated), {}
        yield call, with_id(good[: chance.randrange(len(good))]), {}
        yield call, with_id(f"{int(expiry) + chance.randrange(1, 10**9)}.{nonce}.{mac}"), {}
        yield call, with_id(f"{expiry}.{chance.randbytes(12).hex()}.{mac}"), {}
        arguments = json.dumps({"euros": 5 + chance.choice([-1, 1]) * chance.randrange(1, 10**6)})
        yield replace(call, arguments=arguments), whole, {}
        yield replace(call, id=f"call_{chance.randrange(10**6)}"), whole, {}
        yield replace(call, name="pay_all"), whole, {}
        yield call, whole, {"caller_id": chance.choice(["", "berta", "anna "]) + str(chance.randrange(99))}
        yield call, whole, {"conversation_id": chance.choice(["", "c2", "c1 ", "C1"])}


class TestAttacker:
    @jumping
    async def test_ten_thousand_decisions_that_nobody_has_made_run_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.ERROR, "winterbourne")  # their lines would take most of the time
        harbour = Harbour()
        call = await harbour.ask()
        pay_all = msgspec.structs.replace(harbour.till.pay, name="pay_all")
        process = Process(harbour.till.pay, pay_all, store=harbour.store, clock=harbour.clock)
        made = attacks(call)
        for _ in range(9_000):
            one, decision, where = next(made)
            (result,) = await process.decide(one, decisions=[decision], **where)
            assert result.is_error
            process.client.batches.clear()
        assert harbour.till.paid == []
        await process.decide(call, decisions=[approve(call)])
        assert harbour.till.paid == [5]
        for _ in range(500):
            await process.decide(call, decisions=[approve(call)])
        late = await Harbour.ask(harbour_with(harbour), euros=7)
        harbour.clock.time_s += 2 * WEEK_S
        for _ in range(500):
            await process.decide(late, decisions=[approve(late)])
        assert harbour.till.paid == [5]

    @jumping
    async def test_a_foreign_key_signs_nothing(self) -> None:
        harbour = Harbour()
        (call,), _ = await harbour.process(key="a key that signs for another chat in another place").ask(
            tool_call("pay", euros=5)
        )
        await harbour.process().decide(call, decisions=[approve(call)])
        assert harbour.till.paid == []


def harbour_with(harbour: Harbour) -> Harbour:
    """Another harbour with the same clock and store, where nothing was paid."""
    other = Harbour()
    other.clock, other.store = harbour.clock, harbour.store
    return other


class TestKeys:
    @pytest.mark.parametrize(("asks", "decides", "runs"), [("a", "b,a", 1), ("b,a", "a", 0), ("a,b", "b,a", 1)])
    async def test_the_first_signs_and_all_verify(self, asks: str, decides: str, runs: int) -> None:
        keys = {"a": 40 * "a", "b": 40 * "b"}
        first, second = (",".join(keys[name] for name in names.split(",")) for names in (asks, decides))
        harbour = Harbour()
        (call,), _ = await harbour.process(key=first).ask(tool_call("pay", euros=5))
        await harbour.process(key=second).decide(call, decisions=[approve(call)])
        assert len(harbour.till.paid) == runs

    def test_a_short_one_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="at least 32"):
            Harbour().process(key=f"{KEY},short")

    @jumping
    async def test_without_one_a_process_understands_itself_and_says_so(self, caplog: pytest.LogCaptureFixture) -> None:
        harbour = Harbour()
        process = harbour.process(key="")
        assert "no SIGNING_KEY is set" in caplog.text
        (call,), _ = await process.ask(tool_call("pay", euros=5))
        await harbour.process(key="").decide(call, decisions=[approve(call)])
        assert harbour.till.paid == []
        await process.decide(call, decisions=[approve(call)])
        assert harbour.till.paid == [5]

    async def test_a_secret_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def read(arn: str, setting: str) -> str:
            assert (arn, setting) == ("arn:x", "SIGNING_KEY_SECRET_ARN")
            return f"{40 * 'n'},{KEY}"

        harbour = Harbour()
        call = await harbour.ask()
        monkeypatch.setattr("winterbourne.chat.infra.secrets.read_secret", read)
        await harbour.process(key="x" * 40, signing_key_secret_arn="arn:x").decide(call, decisions=[approve(call)])
        assert harbour.till.paid == [5]

    async def test_a_secret_that_cannot_be_read_asks_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def read(*_: str) -> str:
            raise SettingsError("the secret cannot be read")

        monkeypatch.setattr("winterbourne.chat.infra.secrets.read_secret", read)
        process = Harbour().process(signing_key_secret_arn="arn:x")
        pending, (result,) = await process.ask(tool_call("pay", euros=5))
        assert (pending, result.content) == ([], approvals.UNAVAILABLE)


class TestCanonicalArguments:
    @given(VALUES)
    def test_survive_what_a_client_does_to_them(self, value: Any) -> None:
        """It parses and writes them: other spaces, another order, whole numbers without a fraction."""

        def reordered(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: reordered(value[name]) for name in reversed(value)}
            return [reordered(each) for each in value] if isinstance(value, list) else value

        once = canonical_json(json.dumps(value))
        assert canonical_json(json.dumps(reordered(value), indent=2, ensure_ascii=False)) == once
        assert canonical_json(once) == once

    @pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a":' + "9" * 5000 + "}"])
    def test_are_the_text_itself_if_it_cannot_be_read(self, text: str) -> None:
        assert canonical_json(text) == text
