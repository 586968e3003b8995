"""Failover: a provider that asks other models, of any provider, where the chosen one fails; the setting MODEL_FALLBACK.

Before its first output a model is replaced in silence. After it, the turn is taken back and begun anew, if the client
can drop what it has shown. A turn that has calls that are ready is never begun anew, since they run already: it ends
with these, and the next turn is another model's, with their results in its history. Whatever a model has said that only
it understands stays out of the others' requests: see `opaque`.

Which models fail is remembered by circuit breakers for as long as the process lives.
"""

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
from winterbourne.chat.core.messages import RETRACTS_ALL
from winterbourne.chat.core.output import with_instructions
from winterbourne.chat.core.provider import ModelRequest, Provider, capabilities_of, model_name
from winterbourne.chat.core.request_checks import available_models
from winterbourne.chat.errors import (
    ChatError,
    CredentialsMissing,
    ModelError,
    ModelInputTooLong,
    ModelMisconfigured,
    ModelRefused,
    ModelStreamTruncated,
    SettingsError,
)
from winterbourne.chat.infra.circuit_breaker import CircuitBreaker
from winterbourne.chat.infra.telemetry import measure
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

_VISIBLE: Final = frozenset({TextDelta, ReasoningDelta, SourceCited})

_LOGGER: Final = logging.getLogger(__name__)


class _Model(msgspec.Struct, frozen=True):
    """One model that can be asked: `name` is `provider:model`. The chosen one takes a request as it is."""

    name: str
    provider: Callable[[], Provider]
    fallback_id: str = ""

    def fit(self, request: ModelRequest, *, is_last: bool) -> ModelRequest:
        """The request as it is sent: another model than the chosen one is not sent the options that it lacks."""
        if not self.fallback_id:
            return msgspec.structs.replace(request, retries=is_last)
        known = capabilities_of(self.provider())(self.fallback_id)
        lacking = dict.fromkeys(request.options().keys() - known.options - {"reasoning", "output"})
        request = request if known.schema else with_instructions(request)  # the chosen model needed none, perhaps
        return msgspec.structs.replace(request, model_id=self.fallback_id, retries=is_last, **lacking)


class _Said(msgspec.Struct):
    """What a model has said in the turn that it is asked for."""

    kinds: set[type[ModelEvent]] = set()
    open_calls: dict[str, str] = {}

    def add(self, batch: Sequence[ModelEvent]) -> None:
        self.kinds.update(map(type, batch))
        for event in batch:
            match event:
                case ToolCallStarted(id_, name):
                    self.open_calls[id_] = name
                case ToolCallReady(id_):
                    self.open_calls.pop(id_, None)

    def can_be_undone(self, request: ModelRequest) -> bool:
        """Whether the answer can go on if the model fails here."""
        shown = self.kinds - {TextDelta} if request.output else self.kinds  # text is held back till it is checked
        if not shown or ToolCallReady in shown or request.retractable in RETRACTS_ALL:
            return True
        return request.retractable == "calls" and not shown & _VISIBLE

    def undo(self, failed: str) -> list[ModelEvent]:
        """What is emitted then: nothing if nothing was said."""
        if ToolCallReady in self.kinds:
            dropped = [ToolCallDropped(*call) for call in self.open_calls.items()]
            return [*dropped, TurnEnded("tool_calls", model=failed)]
        return [TurnRetracted(failed)] if self.kinds else []


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
        self._fallbacks = fallbacks
        self._make = make
        self._now = now
        self._breakers: dict[str, CircuitBreaker] = defaultdict(partial(CircuitBreaker, FAILURES, OPEN_S))

    def capabilities(self, model_id: str) -> Capabilities:
        """Those of the chosen model: what others lack is left out for them."""
        return capabilities_of(self._chosen)(model_id)

    def model_of(self, request: ModelRequest) -> str:
        """The model that is asked first, as in `TurnEnded`."""
        return self._models(request)[0].name

    async def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Stream one turn, of the first model that does not fail.

        Raises:
            ModelError: The caller's mistake; or the error of a model whose turn cannot be begun anew, or of the last
                one, which alone is asked several times.
        """
        models = self._models(request)
        for model, following in zip(models, (*models[1:], None), strict=True):
            said, breaker = _Said(), self._breakers[model.name]
            generation = breaker.begin(self._now())
            try:
                async with aclosing(model.provider().stream(model.fit(request, is_last=not following))) as batches:
                    async for batch in batches:
                        said.add(batch)
                        yield batch
                if TurnEnded not in said.kinds:
                    raise ModelStreamTruncated("the model's stream ended before the model had finished")
            except (ModelError, SettingsError, CredentialsMissing) as error:
                if _is_callers(error, model):
                    raise
                self._note_failure(model.name, generation)
                if not (following and said.can_be_undone(request)):
                    raise
                _LOGGER.warning("%s failed, %s is asked: %s", model.name, following.name, error)
            else:
                breaker.record(generation, succeeded=True, now=self._now())
                return
            measure("ModelFailovers")
            request.failed.add(model.name)
            if undone := said.undo(model.name):
                yield undone
            if isinstance(undone and undone[-1], TurnEnded):
                return

    def _note_failure(self, name: str, generation: int) -> None:
        if self._breakers[name].record(generation, succeeded=False, now=self._now()):
            _LOGGER.warning("%s keeps failing: it is passed over for %g s", name, OPEN_S)

    def _models(self, request: ModelRequest) -> list[_Model]:
        """The models to ask, in order: those that have failed in this answer, or keep failing, only if all have."""
        chosen = request.model_id or self._default_model
        others = self._fallbacks.get(chosen, self._fallbacks.get("", ()))
        named = msgspec.structs.replace(request, model_id=chosen)
        models = [_Model(model_name(self._chosen, named), lambda: self._chosen)]
        models += [_Model(f"{name}:{model_id}", partial(self._make, name), model_id) for name, model_id in others]
        models = [model for model in models if model.name not in request.failed] or models
        ready = [model for model in models if not self._breakers[model.name].remaining_open_s(self._now())]
        if ready:  # the rest of the answer is not another model's again
            request.failed.update({model.name for model in models} - {model.name for model in ready})
        return ready or models


def _is_callers(error: ChatError, model: _Model) -> bool:
    """Whether another model would be asked in vain, or without need: the request itself is refused."""
    if isinstance(error, ModelInputTooLong) and model.fallback_id:
        error.window = 0  # not that of the chosen model, whose conversations would be compacted for it from now on
    return isinstance(error, ModelRefused) and not isinstance(error, ModelMisconfigured)


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
            raise SettingsError(f"MODEL_FALLBACK: {chosen[:64]!r} is not in MODEL_CHOICES, or is there twice")
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
