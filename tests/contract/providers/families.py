"""The provider families: how each is reached, how it words an error, and whether it thinks."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.contract.providers.prompt_cache import PromptCache

__all__ = ["FAMILIES", "Family"]

ErrorBody = Callable[[int, str], Any]
"""(status, message) → the JSON of a refusal."""


@dataclass(frozen=True)
class Family:
    """One provider, or one kind of server.

    Attributes:
        dialect: The API that it speaks: anthropic, bedrock, chat or responses.
        error_body: Its way to word a refusal.
        base_url: The URL under which it is known; its host leads to the fake. Empty for servers that run anywhere.
        path: The path of the base URL.
        model_id: The model that is asked.
        extra_body: MODEL_EXTRA_BODY, such as what turns thinking on.
        reasoning: How reasoning is sent and demanded back; empty if the model does not think.
        thinks: Whether a request is answered with thinking.
        has_tools: Whether the model can call tools.
        is_variant: Whether it differs from another family in its model alone: conversations are told to that one.
        others: Further settings of a chat that uses it.
        cache: Makes its prompt cache; None if it reports none.
    """

    dialect: str
    error_body: ErrorBody
    base_url: str = ""
    path: str = "/v1"
    model_id: str = "model"
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    reasoning: str = ""
    thinks: Callable[[Mapping[str, Any]], bool] = lambda _: False
    has_tools: bool = True
    is_variant: bool = False
    others: Mapping[str, object] = field(default_factory=dict)
    cache: Callable[[], PromptCache] | None = None

    def settings(self, port: int) -> dict[str, object]:
        """The settings of a chat that uses the fake at this port."""
        host = self.base_url or "127.0.0.1"
        root = f"http://{host}:{port}"
        provider = self.dialect if self.dialect in {"anthropic", "bedrock"} else "openai"
        return {
            "model_provider": provider,
            "model_id": self.model_id,
            "model_extra_body": json.dumps(self.extra_body) if self.extra_body else "",
            "anthropic_base_url": root,
            "anthropic_api_key": "sk-test",
            "bedrock_base_url": root,
            "bedrock_region": "eu-west-1",
            "aws_bearer_token_bedrock": "sk-test",
            "openai_base_url": root + self.path,
            "openai_api_key": "sk-test",
            **self.others,
        }


def _openai(status: int, message: str) -> Any:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def _anthropic(status: int, message: str) -> Any:
    error = {"type": "invalid_request_error", "message": message}
    return {"type": "error", "error": error, "request_id": "req_011"}


def _bedrock(status: int, message: str) -> Any:
    return {"message": message}


def _deepseek(status: int, message: str) -> Any:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}
    return {"error": error}


def _kimi(status: int, message: str) -> Any:
    return {"error": {"message": message, "type": "invalid_request_error"}}


def _gemini(status: int, message: str) -> Any:
    return [{"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT"}}]


def _mistral(status: int, message: str) -> Any:
    if status == 422:
        location = ["body", *message.split(".")]
        detail = [{"type": "extra_forbidden", "loc": location, "msg": "Extra inputs are not permitted", "input": None}]
        error = {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error"}
        return {**error, "param": None, "code": None}
    return {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": "3230"}


def _vllm(status: int, message: str) -> Any:
    return {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": status}


def _ollama(status: int, message: str) -> Any:
    return {"error": {"message": message, "type": "api_error", "param": None, "code": None}}


def _litellm(status: int, message: str) -> Any:
    inner = json.dumps(_anthropic(status, message))
    text = f"litellm.BadRequestError: AnthropicException - {inner}. Received Model Group=claude"
    return {"error": {"message": text, "type": None, "param": None, "code": str(status)}}


def _litellm_gemini(status: int, message: str) -> Any:
    text = f"litellm.BadRequestError: VertexAIException - {json.dumps(_gemini(status, message)[0])}"
    return {"error": {"message": text, "type": None, "param": None, "code": str(status)}}


def _openrouter(status: int, message: str) -> Any:
    metadata = {"raw": message, "provider_name": "Google AI Studio"}
    error = {"message": "Provider returned error", "code": status, "metadata": metadata}
    return {"error": error, "user_id": "user_1"}


def _llama_server(status: int, message: str) -> Any:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"code": status, "message": message, "type": kind}}


BUDGET: Mapping[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 2000}}


def _is_enabled(body: Mapping[str, Any]) -> bool:
    return bool(body.get("thinking") or {}) and body["thinking"].get("type") in {"enabled", "adaptive"}


def _is_not_disabled(body: Mapping[str, Any]) -> bool:
    return (body.get("thinking") or {}).get("type") != "disabled"


def _is_adaptive(body: Mapping[str, Any]) -> bool:
    """Of Claude 5, which thinks unless it is told not to."""
    return (body.get("thinking") or {}).get("type") not in {"disabled", "between_tools"}


def _bedrock_thinks(body: Mapping[str, Any]) -> bool:
    return _is_enabled(body.get("additionalModelRequestFields") or {})


def _implicit_cache() -> PromptCache:
    return PromptCache(min_tokens=1024, write=1, needs_marks=False)


FAMILIES: Mapping[str, Family] = {
    "anthropic": Family(
        "anthropic",
        _anthropic,
        "api.anthropic.com",
        model_id="claude-haiku-4-5",
        cache=lambda: PromptCache(min_tokens=4096),
    ),
    "anthropic-thinking": Family(
        "anthropic",
        _anthropic,
        model_id="claude-sonnet-4-5",
        extra_body=BUDGET,
        reasoning="thinking",
        thinks=_is_enabled,
        cache=lambda: PromptCache(min_tokens=1024),
    ),
    "anthropic-adaptive": Family(
        "anthropic",
        _anthropic,
        "api.anthropic.com",
        model_id="claude-opus-4-7",
        reasoning="thinking",
        thinks=_is_enabled,
        is_variant=True,
    ),
    "anthropic-bound": Family(
        "anthropic",
        _anthropic,
        model_id="claude-sonnet-5-5",
        reasoning="thinking",
        thinks=_is_adaptive,
        is_variant=True,
    ),
    "bedrock-nova": Family(
        "bedrock",
        _bedrock,
        model_id="global.amazon.nova-2-lite-v1:0",
        cache=lambda: PromptCache(min_tokens=1024, write=1, read=0.25),
    ),
    "bedrock-claude-thinking": Family(
        "bedrock",
        _bedrock,
        model_id="global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        extra_body={"additionalModelRequestFields": BUDGET},
        reasoning="thinking",
        thinks=_bedrock_thinks,
        cache=lambda: PromptCache(min_tokens=1024),
    ),
    "bedrock-claude-adaptive": Family(
        "bedrock",
        _bedrock,
        model_id="us.anthropic.claude-opus-4-7-v1:0",
        reasoning="thinking",
        thinks=_bedrock_thinks,
        is_variant=True,
    ),
    "bedrock-gpt-oss": Family("bedrock", _bedrock, model_id="openai.gpt-oss-120b-1:0", is_variant=True),
    "bedrock-qwen": Family("bedrock", _bedrock, model_id="qwen.qwen3-32b-v1:0", is_variant=True),
    "openai": Family(
        "responses",
        _openai,
        "api.openai.com",
        model_id="gpt-5.4-mini",
        reasoning="encrypted_content",
        thinks=lambda _: True,
        cache=_implicit_cache,
    ),
    "openai-chat": Family(
        "chat", _openai, "api.openai.com", model_id="gpt-5.4-mini", others={"openai_api": "chat"}, cache=_implicit_cache
    ),
    "openai-astra": Family(
        "chat",
        _openai,
        "api.openai.com",
        model_id="gpt-6-astra",
        others={"openai_api": "chat"},
        is_variant=True,
    ),
    "azure": Family("chat", _openai, "harbour.openai.azure.com", "/openai/v1", "gpt-5", cache=_implicit_cache),
    "deepseek": Family(
        "chat",
        _deepseek,
        "api.deepseek.com",
        model_id="deepseek-reasoner",
        reasoning="reasoning_content",
        thinks=_is_not_disabled,
    ),
    "kimi": Family(
        "chat",
        _kimi,
        "api.moonshot.ai",
        model_id="kimi-k2.5",
        reasoning="reasoning_content",
        thinks=_is_not_disabled,
    ),
    "deepseek-efforts": Family(
        "chat",
        _deepseek,
        "api.deepseek.com",
        model_id="deepseek-v4-pro",
        reasoning="reasoning_content",
        thinks=_is_not_disabled,
        is_variant=True,
    ),
    "kimi-efforts": Family(
        "chat",
        _kimi,
        "api.moonshot.ai",
        model_id="kimi-k3",
        reasoning="reasoning_content",
        thinks=lambda _: True,
        is_variant=True,
    ),
    "gemini": Family(
        "chat",
        _gemini,
        "generativelanguage.googleapis.com",
        "/v1beta/openai",
        "gemini-3-flash-preview",
        reasoning="thought_signature",
        thinks=lambda _: True,
    ),
    "mistral": Family("chat", _mistral, "api.mistral.ai", model_id="mistral-large-latest"),
    "openrouter-gemini": Family(
        "chat",
        _openrouter,
        "openrouter.ai",
        "/api/v1",
        "google/gemini-3-flash-preview",
        reasoning="reasoning_details",
        thinks=lambda _: True,
    ),
    "litellm-claude": Family(
        "chat",
        _litellm,
        model_id="claude",
        extra_body=BUDGET,
        reasoning="thinking_blocks",
        thinks=_is_enabled,
    ),
    "litellm-gemini": Family("chat", _litellm_gemini, model_id="gemini", reasoning="signed_id", thinks=lambda _: True),
    "vllm-gemma": Family("chat", _vllm, model_id="google/gemma-2-9b-it", has_tools=False),
    "vllm-mistral": Family("chat", _vllm, model_id="mistralai/Mistral-7B-Instruct-v0.3"),
    "vllm-llama": Family("chat", _vllm, model_id="meta-llama/Llama-3.1-8B-Instruct"),
    "ollama": Family("chat", _ollama, model_id="qwen3", reasoning="reasoning", thinks=lambda _: True),
    "ollama-gemma": Family("chat", _ollama, model_id="gemma3", has_tools=False),
    "llama-server": Family("chat", _llama_server, model_id="mistral-nemo"),
}
"""By name. Where a family thinks, it does so in every answer unless a request turns it off."""
