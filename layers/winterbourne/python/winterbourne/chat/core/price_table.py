"""List prices of models, in dollars per million tokens, as of 2026-11-27. Made by `make prices`; not edited.

From `model_prices_and_context_window_backup.json` of LiteLLM 1.110.2 (MIT license). A line has: the part of the
table; the prices of input, output, input read from a cache, input written to it, and that for an hour; where long input
costs more, the tokens above which it does, and the five prices then; its models.
A date or version at the end of a model's id matters only if it is here. Bedrock: US East (N. Virginia).
"""

from typing import Final

TABLE: Final = """
anthropic 10 50 1 12.5 20: claude-fable-5 claude-mythos-5 claude-mythos-preview
anthropic 10 50 0.25 12.5 20: claude-fable-5-1 claude-mythos-5-1
anthropic 1 5 0.1 1.25 2: claude-haiku-4-5
anthropic 0.1 0.5 0.01 0.125 0.2 100000 0.5 2.5 0.05 0.625 1: claude-haiku-5-5
anthropic 5 25 0.5 6.25 10: claude-opus-4-5 claude-opus-4-6 claude-opus-4-7 claude-opus-4-8 claude-opus-5
anthropic 4 20 0.2 5 8: claude-opus-5-5
anthropic 3 15 0.3 3.75 6: claude-sonnet-4-5 claude-sonnet-4-6
anthropic 2 10 0.2 2.5 4: claude-sonnet-5
anthropic 2 10 0.1 2.5 4: claude-sonnet-5-5
bedrock 12.5 12.5 12.5 12.5 12.5: ai21.j2-mid-v1
bedrock 18.8 18.8 18.8 18.8 18.8: ai21.j2-ultra-v1
bedrock 2 8 2 2 2: ai21.jamba-1-5-large
bedrock 0.2 0.4 0.2 0.2 0.2: ai21.jamba-1-5-mini
bedrock 0.5 0.7 0.5 0.5 0.5: ai21.jamba-instruct
bedrock 0.3 2.5 0.075 0.3 0.3: amazon.nova-2-lite global.amazon.nova-2-lite
bedrock 1.25 10 0.3125 1.25 1.25: amazon.nova-2-pro-preview
bedrock 0.06 0.24 0.015 0.06 0.06: amazon.nova-lite us.amazon.nova-lite
bedrock 0.035 0.14 0.00875 0.035 0.035: amazon.nova-micro us.amazon.nova-micro
bedrock 2.5 12.5 0.625 2.5 2.5: amazon.nova-premier
bedrock 0.8 3.2 0.2 0.8 0.8: amazon.nova-pro us.amazon.nova-pro
bedrock 0.2 0.6 0.2 0.2 0.2: amazon.titan-text-express-v1 nvidia.nemotron-nano-12b-v2
bedrock 0.15 0.2 0.15 0.15 0.15: amazon.titan-text-lite-v1 mistral.mistral-7b-instruct
bedrock 0.5 1.5 0.5 0.5 0.5: amazon.titan-text-premier mistral.magistral-small-2509
bedrock 0.5 1.5 0.5 0.5 0.5: mistral.mistral-large-3-675b-instruct
bedrock 8 24 8 8 8: anthropic.claude anthropic.claude-v1
bedrock 0.8 4 0.08 1 1: anthropic.claude-3-5-haiku eu.anthropic.claude-3-5-haiku us.anthropic.claude-3-5-haiku
bedrock 3 15 0.3 3.75 3.75: anthropic.claude-3-5-sonnet anthropic.claude-3-7-sonnet eu.anthropic.claude-3-5-sonnet
bedrock 3 15 0.3 3.75 3.75: eu.anthropic.claude-3-7-sonnet global.moonshotai.kimi-k3 us.anthropic.claude-3-5-sonnet
bedrock 3 15 0.3 3.75 3.75: us.anthropic.claude-3-7-sonnet
bedrock 3.6 18 0.36 4.5 4.5: anthropic.claude-3-7-sonnet-20240620-v1:0
bedrock 15 75 1.5 18.75 18.75: anthropic.claude-3-opus anthropic.claude-opus-4 anthropic.claude-opus-4-1
bedrock 15 75 1.5 18.75 18.75: eu.anthropic.claude-3-opus eu.anthropic.claude-opus-4 eu.anthropic.claude-opus-4-1
bedrock 15 75 1.5 18.75 18.75: us.anthropic.claude-3-opus us.anthropic.claude-opus-4 us.anthropic.claude-opus-4-1
bedrock 10 50 1 12.5 20: anthropic.claude-fable-5 global.anthropic.claude-fable-5
bedrock 10 50 0.25 12.5 20: anthropic.claude-fable-5-1 anthropic.claude-mythos-5-1 global.anthropic.claude-fable-5-1
bedrock 10 50 0.25 12.5 20: global.anthropic.claude-mythos-5-1
bedrock 1 5 0.1 1.25 2: anthropic.claude-haiku-4-5 global.anthropic.claude-haiku-4-5
bedrock 0.1 0.5 0.01 0.125 0.2 100000 0.5 2.5 0.05 0.625 1: anthropic.claude-haiku-5-5
bedrock 0.1 0.5 0.01 0.125 0.2 100000 0.5 2.5 0.05 0.625 1: global.anthropic.claude-haiku-5-5
bedrock 0.8 2.4 0.8 0.8 0.8: anthropic.claude-instant-v1
bedrock 27.5 137.5 2.75 34.375 55: anthropic.claude-mythos-preview apac.anthropic.claude-mythos-preview
bedrock 27.5 137.5 2.75 34.375 55: au.anthropic.claude-mythos-preview us.anthropic.claude-mythos-preview
bedrock 5 25 0.5 6.25 10: anthropic.claude-opus-4-5 anthropic.claude-opus-4-6-v1 anthropic.claude-opus-4-7
bedrock 5 25 0.5 6.25 10: anthropic.claude-opus-4-8 anthropic.claude-opus-5 global.anthropic.claude-opus-4-5
bedrock 5 25 0.5 6.25 10: global.anthropic.claude-opus-4-6-v1 global.anthropic.claude-opus-4-7
bedrock 5 25 0.5 6.25 10: global.anthropic.claude-opus-4-8 global.anthropic.claude-opus-5
bedrock 4 20 0.2 5 8: anthropic.claude-opus-5-5 global.anthropic.claude-opus-5-5
bedrock 3 15 0.3 3.75 3.75 200000 6 22.5 0.6 7.5 7.5: anthropic.claude-sonnet-4 apac.anthropic.claude-sonnet-4
bedrock 3 15 0.3 3.75 3.75 200000 6 22.5 0.6 7.5 7.5: eu.anthropic.claude-sonnet-4 global.anthropic.claude-sonnet-4
bedrock 3 15 0.3 3.75 3.75 200000 6 22.5 0.6 7.5 7.5: us.anthropic.claude-sonnet-4
bedrock 3 15 0.3 3.75 6 200000 6 22.5 0.6 7.5 12: anthropic.claude-sonnet-4-5 claude-sonnet-4-5
bedrock 3 15 0.3 3.75 6 200000 6 22.5 0.6 7.5 12: global.anthropic.claude-sonnet-4-5
bedrock 3 15 0.3 3.75 6: anthropic.claude-sonnet-4-6 global.anthropic.claude-sonnet-4-6
bedrock 2 10 0.2 2.5 4: anthropic.claude-sonnet-5 global.anthropic.claude-sonnet-5
bedrock 2 10 0.1 2.5 4: anthropic.claude-sonnet-5-5 global.anthropic.claude-sonnet-5-5
bedrock 0.396 3.311 0.099 0.396 0.396: apac.amazon.nova-2-lite jp.amazon.nova-2-lite
bedrock 1.375 11 0.34375 1.375 1.375: apac.amazon.nova-2-pro-preview eu.amazon.nova-2-pro-preview
bedrock 1.375 11 0.34375 1.375 1.375: us.amazon.nova-2-pro-preview
bedrock 0.063 0.252 0.01575 0.063 0.063: apac.amazon.nova-lite
bedrock 0.037 0.148 0.00925 0.037 0.037: apac.amazon.nova-micro
bedrock 0.84 3.36 0.21 0.84 0.84: apac.amazon.nova-pro
bedrock 11 55 1.1 13.75 22: apac.anthropic.claude-fable-5 au.anthropic.claude-fable-5 eu.anthropic.claude-fable-5
bedrock 11 55 1.1 13.75 22: us.anthropic.claude-fable-5 us.anthropic.claude-mythos-5
bedrock 1.1 5.5 0.11 1.375 1.375: apac.anthropic.claude-haiku-4-5
bedrock 0.11 0.55 0.011 0.1375 0.22 100000 0.55 2.75 0.055 0.6875 1.1: apac.anthropic.claude-haiku-5-5
bedrock 0.11 0.55 0.011 0.1375 0.22 100000 0.55 2.75 0.055 0.6875 1.1: au.anthropic.claude-haiku-5-5
bedrock 0.11 0.55 0.011 0.1375 0.22 100000 0.55 2.75 0.055 0.6875 1.1: eu.anthropic.claude-haiku-5-5
bedrock 0.11 0.55 0.011 0.1375 0.22 100000 0.55 2.75 0.055 0.6875 1.1: jp.anthropic.claude-haiku-5-5
bedrock 0.11 0.55 0.011 0.1375 0.22 100000 0.55 2.75 0.055 0.6875 1.1: us.anthropic.claude-haiku-5-5
bedrock 5.5 27.5 0.55 6.875 11: apac.anthropic.claude-opus-4-7 apac.anthropic.claude-opus-4-8
bedrock 5.5 27.5 0.55 6.875 11: apac.anthropic.claude-opus-5 au.anthropic.claude-opus-4-6-v1
bedrock 5.5 27.5 0.55 6.875 11: au.anthropic.claude-opus-4-7 au.anthropic.claude-opus-4-8 au.anthropic.claude-opus-5
bedrock 5.5 27.5 0.55 6.875 11: eu.anthropic.claude-opus-4-5 eu.anthropic.claude-opus-4-6-v1
bedrock 5.5 27.5 0.55 6.875 11: eu.anthropic.claude-opus-4-7 eu.anthropic.claude-opus-4-8 eu.anthropic.claude-opus-5
bedrock 5.5 27.5 0.55 6.875 11: jp.anthropic.claude-opus-4-7 jp.anthropic.claude-opus-4-8 jp.anthropic.claude-opus-5
bedrock 5.5 27.5 0.55 6.875 11: us.anthropic.claude-opus-4-5 us.anthropic.claude-opus-4-6-v1
bedrock 5.5 27.5 0.55 6.875 11: us.anthropic.claude-opus-4-7 us.anthropic.claude-opus-4-8 us.anthropic.claude-opus-5
bedrock 4.4 22 0.22 5.5 8.8: apac.anthropic.claude-opus-5-5 au.anthropic.claude-opus-5-5 eu.anthropic.claude-opus-5-5
bedrock 4.4 22 0.22 5.5 8.8: jp.anthropic.claude-opus-5-5 us.anthropic.claude-opus-5-5
bedrock 3.3 16.5 0.33 4.125 6.6: apac.anthropic.claude-sonnet-4-6 au.anthropic.claude-sonnet-4-6
bedrock 3.3 16.5 0.33 4.125 6.6: eu.anthropic.claude-sonnet-4-6 jp.anthropic.claude-sonnet-4-6
bedrock 3.3 16.5 0.33 4.125 6.6: us.anthropic.claude-sonnet-4-6
bedrock 2.2 11 0.22 2.75 4.4: apac.anthropic.claude-sonnet-5 au.anthropic.claude-sonnet-5 eu.anthropic.claude-sonnet-5
bedrock 2.2 11 0.22 2.75 4.4: jp.anthropic.claude-sonnet-5 us.anthropic.claude-sonnet-5
bedrock 2.2 11 0.11 2.75 4.4: apac.anthropic.claude-sonnet-5-5 au.anthropic.claude-sonnet-5-5
bedrock 2.2 11 0.11 2.75 4.4: eu.anthropic.claude-sonnet-5-5 jp.anthropic.claude-sonnet-5-5
bedrock 2.2 11 0.11 2.75 4.4: us.anthropic.claude-sonnet-5-5
bedrock 1.1 5.5 0.11 1.375 2.2: au.anthropic.claude-haiku-4-5 eu.anthropic.claude-haiku-4-5
bedrock 1.1 5.5 0.11 1.375 2.2: jp.anthropic.claude-haiku-4-5 us.anthropic.claude-haiku-4-5
bedrock 3.3 16.5 0.33 4.125 6.6 200000 6.6 24.75 0.66 8.25 13.2: au.anthropic.claude-sonnet-4-5
bedrock 3.3 16.5 0.33 4.125 6.6 200000 6.6 24.75 0.66 8.25 13.2: eu.anthropic.claude-sonnet-4-5
bedrock 3.3 16.5 0.33 4.125 6.6 200000 6.6 24.75 0.66 8.25 13.2: jp.anthropic.claude-sonnet-4-5
bedrock 3.3 16.5 0.33 4.125 6.6 200000 6.6 24.75 0.66 8.25 13.2: us.anthropic.claude-sonnet-4-5
bedrock 0.3 0.6 0.3 0.3 0.3: cohere.command-light-text-v14 meta.llama3-8b-instruct
bedrock 1 2 1 1 1: cohere.command-text-v14
bedrock 1.35 5.4 1.35 1.35 1.35: deepseek.r1 us.deepseek.r1
bedrock 0.58 1.68 0.58 0.58 0.58: deepseek.v3
bedrock 0.62 1.85 0.62 0.62 0.62: deepseek.v3.2 us.deepseek.v3.2
bedrock 0.429 3.597 0.10725 0.429 0.429: eu.amazon.nova-2-lite
bedrock 0.078 0.312 0.0195 0.078 0.078: eu.amazon.nova-lite
bedrock 0.046 0.184 0.0115 0.046 0.046: eu.amazon.nova-micro
bedrock 1.05 4.2 0.2625 1.05 1.05: eu.amazon.nova-pro
bedrock 11 55 0.275 13.75 22: eu.anthropic.claude-fable-5-1 us.anthropic.claude-fable-5-1
bedrock 11 55 0.275 13.75 22: us.anthropic.claude-mythos-5-1
bedrock 0.74 2.22 0.74 0.74 0.74: eu.deepseek.v3.2
bedrock 0.13 0.13 0.13 0.13 0.13: eu.meta.llama3-2-1b-instruct
bedrock 0.19 0.19 0.19 0.19 0.19: eu.meta.llama3-2-3b-instruct
bedrock 2 6 2 2 2: eu.mistral.pixtral-large-2502 mistral.mistral-large-2407 mistral.pixtral-large-2502
bedrock 2 6 2 2 2: us.mistral.pixtral-large-2502
bedrock 4 20 0.2 5 5: global.moonshotai.kimi-k3.1
bedrock 2.5 15 0.25 2.5 2.5 272000 5 22.5 0.5 5 5: global.openai.gpt-5.4
bedrock 5 30 0.5 5 5 272000 10 45 1 10 10: global.openai.gpt-5.5
bedrock 0.2 1.2 0.02 0.25 0.25 272000 0.4 1.8 0.04 0.5 0.5: global.openai.gpt-5.6-luna
bedrock 4 20 0.4 5 5 272000 8 30 0.8 10 10: global.openai.gpt-5.6-sol
bedrock 2 12 0.2 2.5 2.5 272000 4 18 0.4 5 5: global.openai.gpt-5.6-terra
bedrock 10 50 1 12.5 12.5 272000 20 75 2 25 25: global.openai.gpt-6-astra
bedrock 0.1 0.5 0.01 0.125 0.125 272000 0.2 0.75 0.02 0.25 0.25: global.openai.gpt-6-luna openai.gpt-6-luna
bedrock 2 10 0.2 2.5 2.5 272000 4 15 0.4 5 5: global.openai.gpt-6-sol openai.gpt-6-sol
bedrock 2 10 0.1 2.5 2.5 272000 4 15 0.2 5 5: global.openai.gpt-6.1-sol
bedrock 1 5 0.05 1.25 1.25 272000 2 7.5 0.1 2.5 2.5: global.openai.gpt-6.1-terra
bedrock 2 6 0.5 2 2: global.xai.grok-4.6 global.xai.grok-4.7
bedrock 1.68 5.28 0.312 2.1 2.1: global.zai.glm-5.3
bedrock 0.09 0.29 0.09 0.09 0.09: google.gemma-3-12b-it
bedrock 0.23 0.38 0.23 0.23 0.23: google.gemma-3-27b-it
bedrock 0.04 0.08 0.04 0.04 0.04: google.gemma-3-4b-it
bedrock 3.3 16.5 0.33 4.125 4.125: in.moonshotai.kimi-k3 moonshotai.kimi-k3 us.moonshotai.kimi-k3
bedrock 4.4 22 0.22 5.5 5.5: in.moonshotai.kimi-k3.1 moonshotai.kimi-k3.1 us.moonshotai.kimi-k3.1
bedrock 0.75 1 0.75 0.75 0.75: meta.llama2-13b-chat-v1
bedrock 1.95 2.56 1.95 1.95 1.95: meta.llama2-70b-chat-v1
bedrock 2.4 2.4 2.4 2.4 2.4: meta.llama3-1-405b-instruct us.meta.llama3-1-405b-instruct
bedrock 0.72 0.72 0.72 0.72 0.72: meta.llama3-1-70b-instruct meta.llama3-2-90b-instruct meta.llama3-3-70b-instruct
bedrock 0.72 0.72 0.72 0.72 0.72: us.meta.llama3-1-70b-instruct us.meta.llama3-2-90b-instruct
bedrock 0.72 0.72 0.72 0.72 0.72: us.meta.llama3-3-70b-instruct
bedrock 0.22 0.22 0.22 0.22 0.22: meta.llama3-1-8b-instruct us.meta.llama3-1-8b-instruct
bedrock 0.16 0.16 0.16 0.16 0.16: meta.llama3-2-11b-instruct us.meta.llama3-2-11b-instruct
bedrock 0.1 0.1 0.1 0.1 0.1: meta.llama3-2-1b-instruct mistral.ministral-3-3b-instruct us.meta.llama3-2-1b-instruct
bedrock 0.15 0.15 0.15 0.15 0.15: meta.llama3-2-3b-instruct mistral.ministral-3-8b-instruct
bedrock 0.15 0.15 0.15 0.15 0.15: us.meta.llama3-2-3b-instruct
bedrock 2.65 3.5 2.65 2.65 2.65: meta.llama3-70b-instruct
bedrock 0.24 0.97 0.24 0.24 0.24: meta.llama4-maverick-17b-instruct us.meta.llama4-maverick-17b-instruct
bedrock 0.17 0.66 0.17 0.17 0.17: meta.llama4-scout-17b-instruct us.meta.llama4-scout-17b-instruct
bedrock 0.3 1.2 0.3 0.3 0.3: minimax.minimax-m2 minimax.minimax-m2.1 minimax.minimax-m2.5
bedrock 0.4 2 0.4 0.4 0.4: mistral.devstral-2-123b
bedrock 0.2 0.2 0.2 0.2 0.2: mistral.ministral-3-14b-instruct
bedrock 4 12 4 4 4: mistral.mistral-large-2402
bedrock 1 3 1 1 1: mistral.mistral-small-2402
bedrock 0.45 0.7 0.45 0.45 0.45: mistral.mixtral-8x7b-instruct
bedrock 0.04 0.04 0.04 0.04 0.04: mistral.voxtral-mini-3b-2507
bedrock 0.1 0.3 0.1 0.1 0.1: mistral.voxtral-small-24b-2507
bedrock 0.6 2.5 0.6 0.6 0.6: moonshot.kimi-k2-thinking
bedrock 0.6 3 0.6 0.6 0.6: moonshotai.kimi-k2.5
bedrock 0.06 0.24 0.06 0.06 0.06: nvidia.nemotron-nano-3-30b
bedrock 0.06 0.23 0.06 0.06 0.06: nvidia.nemotron-nano-9b-v2
bedrock 0.15 0.65 0.15 0.15 0.15: nvidia.nemotron-super-3-120b
bedrock 0.15 0.6 0.15 0.15 0.15: openai.gpt-oss-120b-1:0 qwen.qwen3-32b qwen.qwen3-coder-30b-a3b
bedrock 0.15 0.6 0.15 0.15 0.15: writer.palmyra-vision-7b
bedrock 0.07 0.3 0.07 0.07 0.07: openai.gpt-oss-20b-1:0
bedrock 0.22 0.88 0.22 0.22 0.22: qwen.qwen3-235b-a22b-2507
bedrock 0.45 1.8 0.45 0.45 0.45: qwen.qwen3-coder-480b-a35b
bedrock 0.5 1.2 0.5 0.5 0.5: qwen.qwen3-coder-next
bedrock 0.15 1.2 0.15 0.15 0.15: qwen.qwen3-next-80b-a3b
bedrock 0.53 2.66 0.53 0.53 0.53: qwen.qwen3-vl-235b-a22b
bedrock 12 60 0.3 15 24: us-gov.anthropic.claude-fable-5-1
bedrock 0.12 0.6 0.012 0.15 0.24 100000 0.6 3 0.06 0.75 1.2: us-gov.anthropic.claude-haiku-5-5
bedrock 6 30 0.6 7.5 12: us-gov.anthropic.claude-opus-4-8 us-gov.anthropic.claude-opus-5
bedrock 4.8 24 0.24 6 9.6: us-gov.anthropic.claude-opus-5-5
bedrock 3.6 18 0.36 4.5 7.2 200000 7.2 27 0.72 9 14.4: us-gov.anthropic.claude-sonnet-4-5
bedrock 2.4 12 0.24 3 4.8: us-gov.anthropic.claude-sonnet-5
bedrock 2.4 12 0.12 3 4.8: us-gov.anthropic.claude-sonnet-5-5
bedrock 0.24 0.72 0.24 0.24 0.24: us-gov.nvidia.nemotron-nano-12b-v2
bedrock 0.072 0.288 0.072 0.072 0.072: us-gov.nvidia.nemotron-nano-3-30b
bedrock 0.072 0.276 0.072 0.072 0.072: us-gov.nvidia.nemotron-nano-9b-v2
bedrock 0.18 0.78 0.18 0.18 0.18: us-gov.nvidia.nemotron-super-3-120b
bedrock 0.18 0.72 0.18 0.18 0.18: us-gov.openai.gpt-oss-120b-1:0
bedrock 0.084 0.36 0.084 0.084 0.084: us-gov.openai.gpt-oss-20b-1:0
bedrock 2.64 7.92 0.66 2.64 2.64: us-gov.xai.grok-4.6 us-gov.xai.grok-4.7
bedrock 0.33 2.75 0.0825 0.33 0.33: us.amazon.nova-2-lite
bedrock 2.75 16.5 0.275 2.75 2.75 272000 5.5 24.75 0.55 5.5 5.5: us.openai.gpt-5.4
bedrock 5.5 33 0.55 5.5 5.5 272000 11 49.5 1.1 11 11: us.openai.gpt-5.5
bedrock 0.22 1.32 0.022 0.275 0.275 272000 0.44 1.98 0.044 0.55 0.55: us.openai.gpt-5.6-luna
bedrock 4.4 22 0.44 5.5 5.5 272000 8.8 33 0.88 11 11: us.openai.gpt-5.6-sol
bedrock 2.2 13.2 0.22 2.75 2.75 272000 4.4 19.8 0.44 5.5 5.5: us.openai.gpt-5.6-terra
bedrock 11 55 1.1 13.75 13.75 272000 22 82.5 2.2 27.5 27.5: us.openai.gpt-6-astra
bedrock 0.11 0.55 0.011 0.1375 0.1375 272000 0.22 0.825 0.022 0.275 0.275: us.openai.gpt-6-luna
bedrock 2.2 11 0.22 2.75 2.75 272000 4.4 16.5 0.44 5.5 5.5: us.openai.gpt-6-sol
bedrock 2.2 11 0.11 2.75 2.75 272000 4.4 16.5 0.22 5.5 5.5: us.openai.gpt-6.1-sol
bedrock 1.1 5.5 0.055 1.375 1.375 272000 2.2 8.25 0.11 2.75 2.75: us.openai.gpt-6.1-terra
bedrock 2.5 10 2.5 2.5 2.5: us.writer.palmyra-x4 writer.palmyra-x4
bedrock 0.6 6 0.6 0.6 0.6: us.writer.palmyra-x5 writer.palmyra-x5
bedrock 2.2 6.6 0.55 2.2 2.2: us.xai.grok-4.6 us.xai.grok-4.7
bedrock 1.848 5.808 0.3432 2.31 2.31: us.zai.glm-5.3
bedrock 0.6 2.2 0.6 0.6 0.6: zai.glm-4.7
bedrock 0.07 0.4 0.07 0.07 0.07: zai.glm-4.7-flash
bedrock 1 3.2 1 1 1: zai.glm-5
deepseek 0.28 0.42 0.028 0.28 0.28: deepseek-chat deepseek-reasoner
deepseek 0.14 0.28 0.014 0.14 0.14: deepseek-coder
deepseek 0.3 1.2 0.006 0.3 0.3: deepseek-flash deepseek-v4-flash deepseek-v4-flash-vision-exp
deepseek 0.55 2.19 0.14 0.55 0.55: deepseek-r1
deepseek 0.27 1.1 0.07 0.27 0.27: deepseek-v3
deepseek 0.28 0.4 0.028 0.28 0.28: deepseek-v3.2
deepseek 1.32 3.96 0.044 1.32 1.32: deepseek-v4-pro
gemini 0.3 2.5 0.03 0.3 0.3: gemini-2.5-flash gemini-3.5-flash-lite gemini-exp-1206 gemini-flash-lite-latest
gemini 0.1 0.4 0.01 0.1 0.1: gemini-2.5-flash-lite
gemini 1.25 10 0.125 1.25 1.25 200000 2.5 15 0.25 2.5 2.5: gemini-2.5-pro
gemini 0.5 3 0.05 0.5 0.5: gemini-3-flash-preview
gemini 0.25 1.5 0.025 0.25 0.25: gemini-3.1-flash-lite gemini-3.1-flash-lite-preview
gemini 2 12 0.2 2 2 200000 4 18 0.4 4 4: gemini-3.1-pro-preview gemini-3.1-pro-preview-customtools gemini-pro-latest
gemini 1.5 9 0.15 1.5 1.5: gemini-3.5-flash
gemini 0.75 3.75 0.075 0.75 0.75: gemini-3.6-flash gemini-3.7-flash gemini-3.8-flash gemini-flash-latest
gemini 2 10 0.1 2 2: gemini-4-argon
gemini 1.5 7.5 0.075 1.5 1.5: gemini-4-hydrogen
gemini 0.35 1.05 0.35 0.35 0.35: gemini-gemma-2-27b-it gemini-gemma-2-9b-it
groq 0.15 0.6 0.075 0.15 0.15: openai/gpt-oss-120b
groq 0.075 0.3 0.0375 0.075 0.075: openai/gpt-oss-20b
groq 0.8 4 0.8 0.8 0.8: qwen/qwen3.8-27b
mistral 0.3 0.9 0.03 0.3 0.3: codestral-2508 codestral-latest mistral-code-fim-latest mistral-code-latest
mistral 0.25 0.25 0.025 0.25 0.25: codestral-mamba-latest mistral-tiny
mistral 0.3 1.2 0.007 0.3 0.3: deepseek-v4-1-flash-1017
mistral 0.4 2 0.04 0.4 0.4: devstral-latest devstral-medium-latest mistral-code-agent-latest
mistral 0.1 0.3 0.01 0.1 0.1: devstral-small-latest mistral-small
mistral 1.4 4.4 0.14 1.4 1.4: glm-5-2 zai-glm-5 zai-glm-5-2 zai-glm-5-3 zai-glm-latest
mistral 1.5 7.5 0.15 1.5 1.5: magistral-medium-latest mistral-medium mistral-medium-2604 mistral-medium-3
mistral 1.5 7.5 0.15 1.5 1.5: mistral-medium-3-5 mistral-medium-3.5 mistral-medium-latest mistral-vibe-cli-latest
mistral 1.5 7.5 0.15 1.5 1.5: mistral-vibe-cli-with-tools
mistral 0.15 0.6 0.015 0.15 0.15: magistral-small-latest mistral-small-2603 mistral-small-latest mistral-vibe-cli-fast
mistral 0.2 0.2 0.02 0.2 0.2: ministral-14b-2512 ministral-14b-latest ministral-3-14b-2512
mistral 0.1 0.1 0.01 0.1 0.1: ministral-3-3b-2512 ministral-3b-2512 ministral-3b-latest
mistral 0.15 0.15 0.015 0.15 0.15: ministral-3-8b-2512 ministral-8b-2512 ministral-8b-latest
mistral 0.5 1.5 0.05 0.5 0.5: mistral-large-2512 mistral-large-3 mistral-large-latest
mistral 0.7 2.1 0.07 0.7 0.7: mistral-large-4 mistral-large-4-0
mistral 0.3 0.3 0.03 0.3 0.3: open-mistral-nemo
mistral 2 6 0.2 2 2: pixtral-large-latest
mistral 0.1 0.4 0.01 0.1 0.1: voxtral-small-2507 voxtral-small-latest
mistral 0.15 0.5 0.03 0.15 0.15: zai-glm-5-3-flash
openai 5 30 0.5 5 5: chat-latest
openai 4 20 0.4 5 5 272000 8 30 0.8 10 10: daybreak-blue-latest gpt-5.6 gpt-5.6-sol gpt-daybreak-blue-latest
openai 12.5 75 1.25 15.625 15.625 272000 25 112.5 2.5 31.25 31.25: daybreak-red-latest gpt-5.6-cyber
openai 12.5 75 1.25 15.625 15.625 272000 25 112.5 2.5 31.25 31.25: gpt-daybreak-red-latest
openai 0.5 1.5 0.5 0.5 0.5: gpt-3.5-turbo gpt-3.5-turbo-0125
openai 1 2 1 1 1: gpt-3.5-turbo-1106
openai 3 4 3 3 3: gpt-3.5-turbo-16k
openai 30 60 30 30 30: gpt-4 gpt-4-0613
openai 10 30 10 10 10: gpt-4-1106-preview gpt-4-turbo
openai 2 8 0.5 2 2: gpt-4.1 o3
openai 0.4 1.6 0.1 0.4 0.4: gpt-4.1-mini
openai 0.1 0.4 0.025 0.1 0.1: gpt-4.1-nano
openai 2.5 10 1.25 2.5 2.5: gpt-4o
openai 5 15 5 5 5: gpt-4o-2024-05-13
openai 0.15 0.6 0.075 0.15 0.15: gpt-4o-mini
openai 1.25 10 0.125 1.25 1.25: gpt-5 gpt-5-chat gpt-5-chat-latest gpt-5-codex gpt-5.1 gpt-5.1-chat-latest
openai 1.25 10 0.125 1.25 1.25: gpt-5.1-codex gpt-5.1-codex-max
openai 0.25 2 0.025 0.25 0.25: gpt-5-mini gpt-5.1-codex-mini
openai 0.05 0.4 0.005 0.05 0.05: gpt-5-nano
openai 15 120 15 15 15: gpt-5-pro
openai 1.75 14 0.175 1.75 1.75: gpt-5.2 gpt-5.2-chat-latest gpt-5.2-codex gpt-5.3-chat-latest gpt-5.3-codex
openai 21 168 21 21 21: gpt-5.2-pro
openai 2.5 15 0.25 2.5 2.5 272000 5 22.5 0.5 5 5: gpt-5.4
openai 0.75 4.5 0.075 0.75 0.75: gpt-5.4-mini
openai 0.2 1.25 0.02 0.2 0.2: gpt-5.4-nano
openai 30 180 30 30 30 272000 60 270 60 60 60: gpt-5.4-pro gpt-5.5-pro
openai 5 30 0.5 5 5 272000 10 45 1 10 10: gpt-5.5
openai 12.5 75 1.25 12.5 12.5: gpt-5.5-cyber gpt-5.5-cyber-preview
openai 0.2 1.2 0.02 0.25 0.25 272000 0.4 1.8 0.04 0.5 0.5: gpt-5.6-luna
openai 2 12 0.2 2.5 2.5 272000 4 18 0.4 5 5: gpt-5.6-terra
openai 10 50 1 12.5 12.5 272000 20 75 2 25 25: gpt-6-astra
openai 10 50 1 10 10: gpt-6-astra-law
openai 20 100 2 25 25: gpt-6-cyber
openai 0.1 0.5 0.01 0.125 0.125 272000 0.2 0.75 0.02 0.25 0.25: gpt-6-luna
openai 15 75 1.5 18.75 18.75 272000 30 112.5 3 37.5 37.5: gpt-6-rosalind
openai 2 10 0.2 2.5 2.5 272000 4 15 0.4 5 5: gpt-6-sol
openai 2 10 0.1 2.5 2.5 272000 4 15 0.2 5 5: gpt-6.1-sol
openai 1 5 0.05 1.25 1.25 272000 2 7.5 0.1 2.5 2.5: gpt-6.1-terra
openai 5 25 0.5 5 5: gpt-rosalind-discovery
openai 15 60 7.5 15 15: o1
openai 150 600 150 150 150: o1-pro
openai 1.1 4.4 0.55 1.1 1.1: o3-mini
openai 20 80 20 20 20: o3-pro
openai 1.1 4.4 0.275 1.1 1.1: o4-mini
xai 1.25 2.5 0.2 1.25 1.25 200000 2.5 5 0.4 2.5 2.5: grok-4.20 grok-4.20-0309 grok-4.20-0309-non-reasoning
xai 1.25 2.5 0.2 1.25 1.25 200000 2.5 5 0.4 2.5 2.5: grok-4.20-0309-reasoning grok-4.20-multi-agent
xai 1.25 2.5 0.2 1.25 1.25 200000 2.5 5 0.4 2.5 2.5: grok-4.20-multi-agent-0309 grok-4.20-multi-agent-latest
xai 1.25 2.5 0.2 1.25 1.25 200000 2.5 5 0.4 2.5 2.5: grok-4.20-non-reasoning grok-4.20-non-reasoning-gv2
xai 1.25 2.5 0.2 1.25 1.25 200000 2.5 5 0.4 2.5 2.5: grok-4.20-non-reasoning-latest grok-4.20-reasoning
xai 1.25 2.5 0.2 1.25 1.25 200000 2.5 5 0.4 2.5 2.5: grok-4.20-reasoning-gv2 grok-4.20-reasoning-latest grok-4.3
xai 1.25 2.5 0.2 1.25 1.25 200000 2.5 5 0.4 2.5 2.5: grok-4.3-latest
xai 2 6 0.3 2 2 200000 4 12 0.6 4 4: grok-4.5 grok-4.5-latest grok-build-latest
xai 2 6 0.5 2 2 200000 4 12 1 4 4: grok-4.6 grok-4.7
xai 1 2 0.2 1 1 200000 2 4 0.4 2 2: grok-build-0.1 grok-code-fast grok-code-fast-1 grok-code-fast-1-0825
"""
