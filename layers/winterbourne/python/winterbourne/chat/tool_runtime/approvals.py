"""Approvals: signs what a person is asked before a call is run, and checks what that person has decided.

Nothing has to be kept between the question and the decision, which may be days and environments apart: the question's
id is a signature over the call, its conversation, its caller and its expiry. A decision is used up by one conditional
write before the call is run, so that of two only one counts.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import hmac
import inspect
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from winterbourne.chat.core.history import DENIED_CALL_RESULT, USED_DECISION_RESULT
from winterbourne.chat.core.messages import Approval, Decision
from winterbourne.chat.errors import ChatError, InputRequired, SettingsError, StorageUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.secret_values import unwrap_single_value
from winterbourne.chat.infra.secrets import Secret
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.call import ActiveCall, CallRecords, PreparedTool
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.results import Outcome, denied, failed, handle_exception
from winterbourne.chat.tool_runtime.threads import ThreadPool

__all__ = ["Approvals", "canonical_json", "tell_edits", "wait_for_turn"]

Clock: TypeAlias = Callable[[], float]

UNAVAILABLE: Final = "The user's approval cannot be asked for or checked at the moment, so this call was not run."

DAY_S: Final = 86_400
MIN_KEY_CHARS: Final = 32
_ID: Final = r"(?a)(\d{1,12}\.[0-9a-f]{24})\.[\w-]{43}"
_LOGGER: Final = logging.getLogger(__name__)


class Approvals:
    """Asks a person about calls, and takes the decisions.

    Args:
        settings: APPROVAL_TTL_DAYS, and SIGNING_KEY or SIGNING_KEY_SECRET_ARN.
        records: Where decisions are used up; None if there are none to be made.
        threads: Where synchronous functions given as `approval` run.
        log_reasons: Whether the log may contain a person's reason.
        now: Wall clock, in epoch seconds.

    Attributes:
        has_key: Whether other processes have the same key.
        records: As given.

    Raises:
        SettingsError: SIGNING_KEY is too short.
    """

    def __init__(
        self, settings: ToolSettings, records: CallRecords | None, threads: ThreadPool, now: Clock, *, log_reasons: bool
    ) -> None:
        arn, text = settings.signing_key_secret_arn, settings.signing_key
        self.has_key = bool(arn or text)
        self.records = records
        self._secret = Secret(arn, "SIGNING_KEY_SECRET_ARN") if arn else None
        self._own_keys = _parse_keys(text) if text else [os.urandom(MIN_KEY_CHARS)]
        self._ttl_s = settings.approval_ttl_days * DAY_S
        self._threads = threads
        self._now = now
        self._log_reasons = log_reasons

    async def ask_if_needed(self, tool: Tool, call: ActiveCall, context: ToolContext) -> Outcome | None:
        """Set the call's `approval` if a person must agree to it, once the model's turn is whole.

        Returns:
            A failed outcome if that cannot be found out, or nobody can be asked; else None.

        Cancellation:
            Nobody was asked.
        """
        if call.decision:
            return None
        try:
            needed = await self._is_needed(tool.options.approval, call, context)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the tool's own code may raise anything, even SystemExit
            return handle_exception(tool.name, error)
        if needed is False:
            return None
        if call.turn.approvals == "none":
            return failed("This call needs a person's approval, which cannot be asked for here, so it was not run.")
        await call.turn.all_started.wait()
        message = "" if needed is True else needed
        call.approval = await self._ask(call, message, allows_edits=tool.options.approval_allows_edits)
        return None if call.approval else failed(UNAVAILABLE)

    async def _ask(
        self, call: ActiveCall, message: str, *, allows_edits: bool = False, schema: dict[str, Any] | None = None
    ) -> Approval | None:
        """What a person is asked about a call, of which the arguments are the fields; None if it cannot be signed."""
        if not (keys := await self._keys()):
            return None
        expires_at_s = int(self._now()) + self._ttl_s
        id_ = _sign(keys[0], _describe(call), f"{expires_at_s}.{os.urandom(12).hex()}")
        return Approval(id_, expires_at_s, redaction.redact(message), allows_edits, schema)

    async def ask_for_input(self, call: ActiveCall, asked: InputRequired) -> None:
        """Set the call's `approval` if a person can fill in what it has stopped for; its state is kept until then."""
        if call.turn.approvals != "form" or not self.records:
            return
        await call.turn.all_started.wait()
        with contextlib.suppress(StorageUnavailable, TimeoutError):
            async with asyncio.timeout_at(call.turn.deadline):
                if approval := await self._ask(call, asked.message, schema=asked.schema):
                    key, until_s = _state_key(approval.id), approval.expires_at_s + DAY_S
                    await self.records.write(key, asked.state.encode(), until_s)
                    call.approval = approval

    async def check(self, call: ActiveCall, tools: Mapping[str, PreparedTool]) -> Outcome | None:
        """Find the decision on a call among its `decisions`, and take what the person has filled in.

        That is what the call had stopped for, or arguments in place of the model's.

        Returns:
            None if the call was approved and may be run after `use_up`; else what the model is told instead.
        """
        if not (keys := await self._keys()):
            return failed(UNAVAILABLE)
        call.decision = decision = _find(call, keys)
        if decision is None:
            return _without_decision(call)
        if int(decision.approval_id.partition(".")[0]) <= self._now():
            return failed("The user's decision came too late, so this call was not run.")
        if not decision.approved:
            return await self.use_up(call) or denied(f"{DENIED_CALL_RESULT} {decision.reason}".rstrip())
        return await self._take_input(call, decision, tools.get(call.tool_call.name))

    async def _take_input(self, call: ActiveCall, decision: Decision, tool: PreparedTool | None) -> Outcome | None:
        try:
            async with asyncio.timeout_at(call.turn.deadline):
                state = await self.records.read(_state_key(decision.approval_id)) if self.records else None
        except (StorageUnavailable, TimeoutError):
            return failed(UNAVAILABLE)
        if state is None:
            return _edit(call, decision, tool)
        call.input_response = state.decode(), decision.arguments or {}
        return None

    async def use_up(self, call: ActiveCall) -> Outcome | None:
        """Use up the decision on a call; return a failed outcome if it was used before, or this cannot be known."""
        decision = call.decision
        assert decision  # noqa: S101 - found by `check`
        expires_at_s = int(decision.approval_id.partition(".")[0]) + DAY_S  # clocks differ
        try:
            async with asyncio.timeout_at(call.turn.deadline):
                if not (self.records and await self.records.claim(decision.approval_id, b"", expires_at_s)):
                    return failed(USED_DECISION_RESULT)
        except (StorageUnavailable, TimeoutError):
            return failed(UNAVAILABLE)
        name, what = call.tool_call.name, "approved" if decision.approved else "denied"
        reason = {"reason": decision.reason} if self._log_reasons else {}
        extra = {"tool": name, "tool_call_id": call.tool_call.id[:128], "caller_id": call.turn.caller_id, **reason}
        _LOGGER.info("a person %s a call of %s%s", what, name, ", edited" if call.is_edited else "", extra=extra)
        measure("Approvals", tool=name)
        return None

    async def _is_needed(self, approval: Any, call: ActiveCall, context: ToolContext) -> bool | str:
        if not callable(approval):
            return bool(approval)
        ask = functools.partial(approval, call.arguments, context)
        needed = await (ask() if inspect.iscoroutinefunction(approval) else self._threads.run(ask))
        if isinstance(needed, bool | str):
            return needed
        raise TypeError("`approval` must return True, False or a sentence")

    async def _keys(self) -> list[bytes]:
        """The keys, of which the first signs; none if they cannot be read."""
        try:
            return _parse_keys(await self._secret.read()) if self._secret else self._own_keys
        except (ChatError, TimeoutError) as error:
            _LOGGER.error("approvals cannot be signed or verified: %r", error)  # noqa: TRY400 - it says all
            return []


def canonical_json(text: str) -> str:
    """Arguments as the JSON text that equal ones have in common, whatever a client's parser made of them."""
    try:
        value = json.loads(text or "{}", parse_float=_parse_float)
        return json.dumps(value or {}, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text


async def wait_for_turn(call: ActiveCall, _: ToolContext) -> None:
    """Wait until the model's turn is whole."""
    await call.turn.all_started.wait()


def tell_edits(call: ActiveCall, outcome: Outcome) -> Outcome:
    """The outcome of a call with arguments that a person has changed, which says with which it was run."""
    arguments = redaction.redact_json(call.tool_call.arguments.encode())
    if outcome.status == "completed":
        result = b'{"arguments_changed_by_the_user":%b,"result":%b}' % (arguments, outcome.result)
        return msgspec.structs.replace(outcome, result=result)
    error = f"{outcome.error} The user had changed the arguments to {arguments.decode()}."
    return msgspec.structs.replace(outcome, error=error)


def _parse_keys(text: str) -> list[bytes]:
    keys = [key.strip() for key in unwrap_single_value(text).split(",")]
    if any(len(key) < MIN_KEY_CHARS for key in keys):
        raise SettingsError(f"SIGNING_KEY: at least {MIN_KEY_CHARS} characters are needed")
    redaction.register(*keys)
    return [key.encode() for key in keys]


def _state_key(approval_id: str) -> str:
    return f"input {approval_id}"


def _describe(call: ActiveCall) -> bytes:
    """All that a decision on this call is about."""
    one, turn = call.tool_call, call.turn
    fields = turn.conversation_id, one.id, one.name, canonical_json(one.arguments), turn.caller_id
    return hashlib.sha256(json.dumps(("winterbourne approval 1", *fields)).encode()).digest()  # one for all decisions


def _sign(key: bytes, description: bytes, expiry_and_nonce: str) -> str:
    """The id that begins with an expiry and a nonce, for the question about a call."""
    digest = hmac.digest(key, description + expiry_and_nonce.encode(), "sha256")
    return f"{expiry_and_nonce}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _find(call: ActiveCall, keys: list[bytes]) -> Decision | None:
    """The decision that was signed for a call; of several one that does not allow it."""
    described = _describe(call)
    found = [each for each in call.decisions or () if _is_signed(each.approval_id, described, keys)]
    return min(found, key=lambda decision: decision.approved, default=None)


def _is_signed(id_: str, description: bytes, keys: list[bytes]) -> bool:
    match = re.fullmatch(_ID, id_)
    return match is not None and any(hmac.compare_digest(_sign(key, description, match[1]), id_) for key in keys)


def _without_decision(call: ActiveCall) -> Outcome:
    """The outcome of a call for which no decision was signed; of some clients' calls it is not known what was asked."""
    asked = call.tool_call.approval
    if isinstance(asked, Approval) and all(asked.id != each.approval_id for each in call.decisions or ()):
        return denied(f"{DENIED_CALL_RESULT} They did not decide on it.")
    _LOGGER.warning("a decision on a call of %s could not be verified", call.tool_call.name[:64])
    return failed("It could not be verified that the user was asked about this call, so it was not run.")


def _edit(call: ActiveCall, decision: Decision, tool: PreparedTool | None) -> Outcome | None:
    """Put the person's arguments in place of the model's, if they differ."""
    arguments = call.tool_call.arguments if decision.arguments is None else json.dumps(decision.arguments)
    if canonical_json(arguments) == canonical_json(call.tool_call.arguments):
        return None
    if not (tool and tool.declared.options.approval_allows_edits):
        return failed("The arguments of this call may not be changed, so it was not run.")
    call.tool_call, call.is_edited = msgspec.structs.replace(call.tool_call, arguments=arguments), True
    return None


def _parse_float(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number
