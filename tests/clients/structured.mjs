// Structured answers with the AI SDK: node structured.mjs URL MODEL. Prints {scenario: what came of it} as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, streamText } from "ai";
import { z } from "zod";

const [base, name] = process.argv.slice(2);
const baseURL = `${base}/v1`;
const openai = createOpenAI({ baseURL, apiKey: "unused" }).chat(name);
const compatible = createOpenAICompatible({ name: "chat", baseURL, supportsStructuredOutputs: true })(name);
const schema = z.object({ city: z.string(), temperature: z.number().int() });
const asked = { prompt: "the weather in Paris", maxRetries: 0 };

async function streamed() {
  const result = streamText({ model: openai, output: Output.object({ schema }), ...asked });
  let last;
  for await (const partial of result.partialOutputStream) last = partial;
  return last;
}

const scenarios = {
  openai: async () => (await generateObject({ model: openai, schema, ...asked })).object,
  compatible: async () => (await generateObject({ model: compatible, schema, ...asked })).object,
  output: async () => (await generateText({ model: openai, output: Output.object({ schema }), ...asked })).output,
  streamed,
};
const outcomes = Object.entries(scenarios).map(async ([name, run]) => [name, await run()]);
console.log(JSON.stringify(Object.fromEntries(await Promise.all(outcomes))));
