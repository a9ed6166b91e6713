// Checks of other JavaScript client libraries with the sandbox. run.py runs this script with the sandbox's address.
//
// Each check prints one line of JSON: {"name", "error"}. If a library itself cannot do something, its check asserts
// what the library does instead, and fails when that changes.

import assert from "node:assert/strict";

const { BASE, ACCOUNT, TOKEN } = process.env;
const load = (name) => import(name); // run.py copies this file next to the modules
const GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it";
const GEMMA_3 = "@cf/google/gemma-3-12b-it";
const EMBEDDING = "@cf/google/embeddinggemma-300m";
const WEATHER = "What is the weather in Rome?";

// Clients with a fixed address are redirected to the sandbox.
const realFetch = globalThis.fetch;
globalThis.fetch = (input, init) => {
  const url = typeof input === "string" ? input : input instanceof URL ? input.href : input.url;
  const local = url.replace("https://api.cloudflare.com/client/v4", BASE);
  return realFetch(typeof input === "string" || input instanceof URL ? local : new Request(local, input), init);
};

const checks = [];
const check = (name, run) => checks.push({ name, run });

// --- openai ----------------------------------------------------------------------------------------------------------
const weatherTool = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the current weather in a city",
    parameters: {
      type: "object",
      properties: { city: { type: "string", description: "The city" } },
      required: ["city"],
    },
  },
};
const PERSON = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};

async function openai() {
  const { default: OpenAI } = await load("openai");
  return new OpenAI({ baseURL: `${BASE}/accounts/${ACCOUNT}/ai/v1`, apiKey: TOKEN, maxRetries: 0 });
}

for (const model of [GEMMA_4, GEMMA_3]) {
  check(`openai chat and stream ${model}`, async () => {
    const client = await openai();
    const whole = await client.chat.completions.create({ model, messages: [{ role: "user", content: "Hello" }] });
    assert.match(whole.choices[0].message.content, /^Hello!/);
    const stream = await client.chat.completions.create({
      model, messages: [{ role: "user", content: "Hello" }], stream: true, stream_options: { include_usage: true },
    });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    assert.equal(text, whole.choices[0].message.content);
  });
}

check("openai tools", async () => {
  const client = await openai();
  const messages = [{ role: "user", content: WEATHER }];
  const first = await client.chat.completions.create({ model: GEMMA_4, messages, tools: [weatherTool] });
  const [call] = first.choices[0].message.tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Rome" });
  messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: "24 degrees" });
  const second = await client.chat.completions.create({ model: GEMMA_4, messages, tools: [weatherTool] });
  assert.match(second.choices[0].message.content, /24 degrees/);
});

check("openai structured output", async () => {
  const client = await openai();
  const reply = await client.chat.completions.parse({
    model: GEMMA_4, messages: [{ role: "user", content: "Ann is 41" }],
    response_format: { type: "json_schema", json_schema: { name: "person", schema: PERSON, strict: true } },
  });
  assert.deepEqual(JSON.parse(reply.choices[0].message.content), { name: "Ann", age: 41 });
});

check("openai embeddings", async () => {
  const client = await openai();
  const reply = await client.embeddings.create({ model: EMBEDDING, input: ["a", "b"] });
  assert.equal(reply.data.length, 2);
  assert.equal(reply.data[0].embedding.length, 768);
});

check("openai errors", async () => {
  const { default: OpenAI } = await load("openai");
  const client = new OpenAI({ baseURL: `${BASE}/accounts/${ACCOUNT}/ai/v1`, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(
    client.chat.completions.create({ model: GEMMA_4, messages: [{ role: "user", content: "Hello" }] }),
    (error) => error.status === 401,
  );
});

// --- cloudflare ------------------------------------------------------------------------------------------------------
async function cloudflare() {
  const { default: Cloudflare } = await load("cloudflare");
  return new Cloudflare({ apiToken: TOKEN, baseURL: BASE, maxRetries: 0 });
}

check("cloudflare run", async () => {
  const client = await cloudflare();
  const reply = await client.ai.run(GEMMA_3, { account_id: ACCOUNT, messages: [{ role: "user", content: "Hello" }] });
  assert.match(reply.response, /^Hello!/);
  const vectors = await client.ai.run(EMBEDDING, { account_id: ACCOUNT, text: ["a", "b"] });
  assert.deepEqual(vectors.shape, [2, 768]);
});

check("cloudflare models and tokens", async () => {
  const client = await cloudflare();
  const names = [];
  for await (const model of client.ai.models.list({ account_id: ACCOUNT, search: "gemma" })) names.push(model.name);
  assert.ok(names.includes(GEMMA_4));
  const schema = await client.ai.models.schema.get({ account_id: ACCOUNT, model: GEMMA_4 });
  assert.ok(schema.input);
  const status = await client.user.tokens.verify();
  assert.equal(status.status, "active");
});

// --- ai with workers-ai-provider -------------------------------------------------------------------------------------
async function workersAI() {
  const { createWorkersAI } = await load("workers-ai-provider");
  return createWorkersAI({ accountId: ACCOUNT, apiKey: TOKEN });
}

for (const model of [GEMMA_4, GEMMA_3]) {
  check(`ai chat and stream ${model}`, async () => {
    const { generateText, streamText } = await load("ai");
    const provider = await workersAI();
    const whole = await generateText({ model: provider(model), prompt: "Hello", maxRetries: 0 });
    assert.match(whole.text, /^Hello!/);
    assert.ok(whole.usage.totalTokens > 0);
    const streamed = streamText({ model: provider(model), prompt: "Hello", maxRetries: 0 });
    let text = "";
    for await (const piece of streamed.textStream) text += piece;
    assert.equal(text, whole.text);
  });
}

check("ai agent with tools", async () => {
  const { generateText, stepCountIs, isStepCount, tool } = await load("ai");
  const { z } = await load("zod");
  const provider = await workersAI();
  const stop = (isStepCount ?? stepCountIs)(5);
  const get_weather = tool({
    description: "Get the current weather in a city",
    inputSchema: z.object({ city: z.string().describe("The city") }),
    execute: async ({ city }) => `24 degrees in ${city}`,
  });
  const reply = await generateText({
    model: provider(GEMMA_4), prompt: WEATHER, tools: { get_weather }, stopWhen: stop, maxRetries: 0,
  });
  assert.match(reply.text, /24 degrees in Rome/);
});

check("ai structured output", async () => {
  const { generateText, Output } = await load("ai");
  const { z } = await load("zod");
  const provider = await workersAI();
  const reply = await generateText({
    model: provider(GEMMA_4), prompt: "Ann is 41", maxRetries: 0,
    output: Output.object({ schema: z.object({ name: z.string(), age: z.number().int() }) }),
  });
  assert.deepEqual(reply.output, { name: "Ann", age: 41 });
});

check("ai embeddings", async () => {
  const { embedMany } = await load("ai");
  const provider = await workersAI();
  const model = (provider.textEmbeddingModel ?? provider.embeddingModel ?? provider.textEmbedding)(EMBEDDING);
  const { embeddings } = await embedMany({ model, values: ["a", "b"], maxRetries: 0 });
  assert.deepEqual(embeddings.map((one) => one.length), [768, 768]);
});

// --- @langchain/cloudflare -------------------------------------------------------------------------------------------
async function langchain(model) {
  const { ChatCloudflareWorkersAI } = await load("@langchain/cloudflare");
  return new ChatCloudflareWorkersAI({
    model, cloudflareAccountId: ACCOUNT, cloudflareApiToken: TOKEN, baseUrl: `${BASE}/accounts/${ACCOUNT}/ai/run`,
  });
}

check(`langchain chat and stream ${GEMMA_3}`, async () => {
  const llm = await langchain(GEMMA_3);
  const whole = await llm.invoke("Hello");
  assert.match(whole.content, /^Hello!/);
  let text = "";
  for await (const chunk of await llm.stream("Hello")) text += chunk.content;
  assert.equal(text, whole.content);
});

check("langchain embeddings", async () => {
  const { CloudflareWorkersAIEmbeddings } = await load("@langchain/cloudflare");
  const run = async (model, input) => {
    const reply = await fetch(`${BASE}/accounts/${ACCOUNT}/ai/run/${model}`, {
      method: "POST", headers: { authorization: `Bearer ${TOKEN}` }, body: JSON.stringify(input),
    });
    return (await reply.json()).result;
  };
  const embeddings = new CloudflareWorkersAIEmbeddings({ binding: { run }, model: EMBEDDING });
  assert.equal((await embeddings.embedQuery("a")).length, 768);
});

// It reads only `response`, so it finds no text in a reply with `choices`.
check("langchain cannot read the choices of Gemma 4", async () => {
  const llm = await langchain(GEMMA_4);
  const reply = await llm.invoke("Hello").catch((error) => ({ content: error }));
  assert.ok(!/^Hello!/.test(reply.content));
});

let failed = 0;
for (const { name, run } of checks) {
  let error = null;
  try {
    await run();
  } catch (thrown) {
    failed += 1;
    error = thrown?.stack ?? String(thrown);
  }
  console.log(JSON.stringify({ name, error }));
}
process.exit(failed ? 1 : 0);
