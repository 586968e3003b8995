"""Failover: a provider that asks other models, of any provider, where the chosen one fails; the setting MODEL_FALLBACK.

Before its first output a model is replaced in silence. After it, the turn is taken back and begun anew, if the client
can drop what it has shown. A turn that has calls that are ready is never begun anew, since they run already: it ends
with these, and the next turn is another model's, with their results in its history. Whatever a model has said that only
it understands stays out of the others' requests: see `opaque`.

Which models fail is remembered by circuit breakers for as long as the process lives.
"""

import asyncio
import functools
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, TypeAlias

import msgspec

from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    SourceCited,
    TextDelta,
    ToolCallDropped,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
    TurnRetracted,
)
from winterbourne.chat.core.history import with_parts
from winterbourne.chat.core.messages import RETRACTS_ALL, AssistantPart, Source, Text
from winterbourne.chat.core.output import with_instructions
from winterbourne.chat.core.provider import ModelRequest, Provider, capabilities_of, model_name
from winterbourne.chat.core.request_checks import available_models
from winterbourne.chat.errors import (
    ChatError,
    CredentialsMissing,
    ModelBusy,
    ModelContentRefused,
    ModelError,
    ModelInputTooLong,
    ModelMisconfigured,
    ModelRefused,
    ModelStreamTruncated,
    SettingsError,
)
from winterbourne.chat.infra.circuit_breaker import CircuitBreaker
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.infra.tracing import SPAN
from winterbourne.chat.providers.provider_config import CONFIGURED, configure
from winterbourne.chat.settings import ModelSettings, expect_made

__all__ = ["FailoverProvider", "parse_fallback", "with_fallback"]

Factories: TypeAlias = Mapping[str, Callable[[ModelSettings], Provider]]

Fallbacks: TypeAlias = Mapping[str, Sequence[tuple[str, str]]]
"""Provider and model of those that are asked in turn, by the model that has failed; by "" for every other one."""

FAILURES: Final = 2
"""Consecutive failures after which a model is passed over."""

OPEN_S: Final = 30.0
"""Seconds for which it is; then one request tries it."""

CHECK_TIMEOUT_S: Final = 1.5
"""How long one provider may take to say that it is ready, in seconds."""

_VISIBLE: Final = frozenset({TextDelta, ReasoningDelta, SourceCited})

_LOGGER: Final = logging.getLogger(__name__)


class _Model(msgspec.Struct, frozen=True):
    """One model that can be asked: `name` is `provider:model`. The chosen one takes a request as it is."""

    name: str
    provider: Callable[[], Provider]
    fallback_id: str = ""

    def fit(self, request: ModelRequest, *, is_last: bool) -> ModelRequest:
        """The request as it is sent: another model than the chosen one is not sent the options that it lacks."""
        request = msgspec.structs.replace(request, retries=is_last)
        if not self.fallback_id:  # which others have failed is nothing to it
            return msgspec.structs.replace(request, failed=set())
        known = capabilities_of(self.provider())(self.fallback_id)
        lacking = dict.fromkeys(request.options().keys() - known.options - {"reasoning", "output"})
        request = request if known.schema else with_instructions(request)  # the chosen model needed none, perhaps
        messages = tuple(with_parts(message, _as_anothers) for message in request.messages)
        return msgspec.structs.replace(request, model_id=self.fallback_id, messages=messages, **lacking)

    def leaves(self, refusal: ChatError) -> bool:
        """Whether what this model refuses is left to others, instead of to the caller: the chosen one may take it."""
        if isinstance(refusal, ModelInputTooLong) and self.fallback_id:
            refusal.is_fallbacks = True
            refusal.window = refusal.window or capabilities_of(self.provider())(self.fallback_id).window
        return bool(self.fallback_id) and not isinstance(refusal, ModelInputTooLong | ModelContentRefused)


async def _check_ready(provider: Provider) -> None:
    if check := getattr(provider, "check_ready", None):
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()


def _can_be_undone(said: Sequence[ModelEvent], request: ModelRequest, hidden: frozenset[type]) -> bool:
    """Whether the answer can go on if the model fails after it has said this in its turn."""
    hidden = hidden | {TextDelta} if request.output else hidden  # text is held back till it is checked
    shown = {*map(type, said)} - hidden
    if not shown or ToolCallReady in shown or request.retractable in RETRACTS_ALL:
        return True
    return request.retractable == "calls" and not shown & _VISIBLE


def _undo(said: Sequence[ModelEvent], failed: str) -> list[ModelEvent]:
    """What is emitted then: nothing if nothing was said."""
    ready = {event.id for event in said if isinstance(event, ToolCallReady)}
    if not ready:
        return [TurnRetracted(failed)] if said else []
    begun = (event for event in said if isinstance(event, ToolCallStarted) and event.id not in ready)
    return [*(ToolCallDropped(call.id, call.name) for call in begun), TurnEnded("tool_calls", model=failed)]


class FailoverProvider:
    """Asks the chosen model, and others in turn where it fails.

    Args:
        chosen: Its provider.
        settings: Name the models.
        fallbacks: The others.
        make: Makes the provider of this name, on first use.
        now: Wall clock, seconds: the loop's clock may stop while the environment is frozen.
    """

    def __init__(
        self,
        chosen: Provider,
        settings: ModelSettings,
        fallbacks: Fallbacks,
        make: Callable[[str], Provider],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = chosen.name
        self.takes_image_urls = chosen.takes_image_urls
        self._chosen = chosen
        self._default_model = available_models(settings)[0]
        self._hidden = frozenset() if settings.show_reasoning else frozenset({ReasoningDelta})
        self._fallbacks = fallbacks
        self._make = make
        self._now = now
        self._breakers: dict[str, CircuitBreaker] = defaultdict(partial(CircuitBreaker, FAILURES, OPEN_S))

    async def check_ready(self) -> None:
        """Raise what the chosen provider raises if none of all is ready."""
        names = dict.fromkeys(name for models in self._fallbacks.values() for name, _ in models)
        providers = self._chosen, *map(self._make, names)
        failures = await asyncio.gather(*map(_check_ready, providers), return_exceptions=True)
        if failures[0] and all(failures):
            raise failures[0]

    def capabilities(self, model_id: str) -> Capabilities:
        """Those of the chosen model: what others lack is left out for them."""
        return capabilities_of(self._chosen)(model_id)

    def model_of(self, request: ModelRequest) -> str:
        """The model that is asked first, as in `TurnEnded`."""
        return self.models_of(request)[0]

    def models_of(self, request: ModelRequest) -> list[str]:
        """All models that may be asked, in order."""
        return [model.name for model in self._models(request)]

    async def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Stream one turn, of the first model that does not fail.

        Raises:
            ModelError: The caller's mistake; or the error of a model whose turn cannot be begun anew, or of the last
                one, which alone is asked several times; ModelBusy if the last one refuses what the chosen one may take.
        """
        models = self._models(request)
        for model, following in zip(models, (*models[1:], None), strict=True):
            said, generation = list[ModelEvent](), self._breakers[model.name].begin(self._now())
            try:
                async with aclosing(model.provider().stream(model.fit(request, is_last=not following))) as batches:
                    async for batch in batches:
                        said += batch
                        yield batch
                if not (said and isinstance(said[-1], TurnEnded)):
                    raise ModelStreamTruncated("the model's stream ended before the model had finished")
            except (ModelError, SettingsError, CredentialsMissing) as error:
                refuses = isinstance(error, ModelRefused) and not isinstance(error, ModelMisconfigured)
                self._record(model.name, generation, succeeded=refuses)
                goes_on = model.leaves(error) if refuses else following
                if not (goes_on and _can_be_undone(said, request, self._hidden)):
                    raise
                asked = following.name if following else "no other"
                _LOGGER.warning("%s failed, %s is asked: %s", model.name, asked, error)
            else:
                self._record(model.name, generation, succeeded=True)
                return
            measure("ModelFailovers")
            request.failed.add(model.name)
            if span := SPAN.get():
                span.note("chat", winterbourne__failed_models=sorted(request.failed))
            if undone := _undo(said, model.name):
                yield undone
            if isinstance(undone and undone[-1], TurnEnded):
                return
        raise ModelBusy("those that are left of MODEL_FALLBACK refuse what the chosen model may take")

    def _record(self, name: str, generation: int, *, succeeded: bool) -> None:
        if self._breakers[name].record(generation, succeeded=succeeded, now=self._now()):
            _LOGGER.warning("%s keeps failing: it is passed over for %g s", name, OPEN_S)

    def _models(self, request: ModelRequest) -> list[_Model]:
        """The models to ask, in order: those that have failed in this answer, or keep failing, only if all have."""
        chosen = request.model_id or self._default_model
        others = self._fallbacks.get(chosen, self._fallbacks.get("", ()))
        named = msgspec.structs.replace(request, model_id=chosen)
        first = _Model(model_name(self._chosen, named), lambda: self._chosen)
        models = [_Model(f"{name}:{model_id}", partial(self._make, name), model_id) for name, model_id in others]
        models = [first, *(model for model in models if model.name != first.name)]
        models = [model for model in models if model.name not in request.failed] or models
        ready = [model for model in models if not self._breakers[model.name].remaining_open_s(self._now())]
        if ready:  # the rest of the answer is not another model's again
            request.failed.update({model.name for model in models} - {model.name for model in ready})
        return ready or models


def _as_anothers(part: AssistantPart) -> AssistantPart:
    """The part; what is opaque in it is the chosen model's where the client that sent it back cannot say so."""
    if isinstance(part, Text | Source) or not part.opaque or part.opaque.origin:
        return part
    return msgspec.structs.replace(part, opaque=msgspec.structs.replace(part.opaque, origin="chosen"))


def parse_fallback(settings: ModelSettings, known: Mapping[str, object]) -> Fallbacks:
    """MODEL_FALLBACK as a table.

    Args:
        settings: Also name the models that have a list of their own.
        known: Has the names of all providers.

    Raises:
        SettingsError: There is no such provider or model, or it is written in another way.
    """
    lists: dict[str, list[tuple[str, str]]] = {}
    for entry in filter(str.strip, settings.model_fallback.split(";")):
        chosen, _, names = (each.strip() for each in entry.rpartition("="))
        if chosen in lists or chosen not in ("", *available_models(settings)):
            raise SettingsError(
                f"MODEL_FALLBACK: {chosen[:64]!r} is neither MODEL_ID nor in MODEL_CHOICES, or is there twice"
            )
        pairs = [each.strip().partition(":") for each in names.split(",") if each.strip()]
        if not all(name in known and model_id for name, _, model_id in pairs):
            raise SettingsError(f"MODEL_FALLBACK: expected provider:model, with one of {', '.join(known)}")
        lists[chosen] = [(name, model_id) for name, _, model_id in pairs]
    return lists


def with_fallback(chosen: Provider, settings: ModelSettings, ours: Factories, own: Factories) -> FailoverProvider:
    """The provider with the others of MODEL_FALLBACK behind it.

    Args:
        chosen: As the other settings select it.
        settings: Those of all providers.
        ours: The engine's providers, which are imported on first use; their settings are checked now.
        own: Others, which are made now.

    Raises:
        SettingsError: MODEL_FALLBACK is invalid, or a setting that one of its providers needs is missing or invalid.
    """
    factories = {**ours, **own}
    fallbacks = parse_fallback(settings, factories)

    @functools.cache
    def make(name: str) -> Provider:
        return expect_made("MODEL_FALLBACK", name, factories[name](_settings_for(name, settings)), Provider)

    for name in {name for models in fallbacks.values() for name, _ in models}:
        if name in own:
            make(name)
        elif name in CONFIGURED:
            configure(name, _settings_for(name, settings))
    return FailoverProvider(chosen, settings, fallbacks, make)


def _settings_for(name: str, settings: ModelSettings) -> ModelSettings:
    """The settings without what is MODEL_PROVIDER's alone; its secret stays for other models of its own."""
    alone = {"model_provider": name, "model_id": "", "model_extra_body": ""}
    secret = {} if name == settings.model_provider else {"model_api_key_secret_arn": ""}
    return msgspec.structs.replace(settings, **alone, **secret)
