"""The `Tools` protocol: the only interface between the conversation and the tool executor."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from winterbourne.chat.core.events import Emit
from winterbourne.chat.core.messages import Approval, ApprovalKind, Decision, ToolCall, ToolMessage, ToolSchema

__all__ = ["Tools", "TurnToolCalls"]


class TurnToolCalls(AbstractAsyncContextManager["TurnToolCalls"], Protocol):
    """The tool calls of one model turn. Leaving the block cancels the calls that still run and waits for them."""

    def start(self, call: ToolCall, decisions: Sequence[Decision] | None = None, /) -> None:
        """Start a call; it runs concurrently with the others.

        One of an earlier answer is run if one of these decisions allows it; else it is told why it is not run.
        """

    def refuse(self, call: ToolCall, reason: str, /) -> None:
        """Do not run a call; its result is this error."""

    async def results(self) -> Sequence[ToolMessage]:
        """Wait for all calls: one result per call, in call order, but none for those that wait for a person.

        Returns at once after the block has been left.
        """

    @property
    def pending(self) -> Mapping[str, Approval]:
        """What a person is asked, by the ids of the calls that wait; complete once the block has been left."""


class Tools(Protocol):
    """The tool executor, as the conversation sees it."""

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """The tools as they are described to the model."""

    def turn(
        self,
        emit: Emit,
        /,
        *,
        deadline: float,
        request_id: str,
        caller_id: str,
        conversation_id: str,
        question: str,
        approvals: ApprovalKind,
    ) -> TurnToolCalls:
        """A group for the tool calls of one model turn; `deadline` is on the event loop's clock.

        `question` identifies what the answer is to: the same again if it is asked anew in the same conversation.
        """
