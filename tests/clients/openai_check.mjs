// Walks through a running daemon with OpenAI's own client for JavaScript and says what does not hold.
//
//   npm install openai
//   adapterd serve &
//   node openai_check.mjs http://127.0.0.1:8080/v1 legal

import assert from "node:assert/strict";
import { toFile } from "openai";
import OpenAI from "openai";

const [baseURL = "http://127.0.0.1:8080/v1", model = "legal", apiKey = "none"] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const messages = [{ role: "user", content: "Copy the name.\nThe clerk is Ada." }];
const asked = { model, messages, max_tokens: 16, temperature: 0 };

const models = [];
for await (const one of client.models.list()) models.push(one.id);
assert.ok(models.includes(model), `${model} is not listed`);

const whole = await client.chat.completions.create(asked);
assert.ok(whole.choices[0].message.content, "no answer");

let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, whole.choices[0].message.content);

const schema = { type: "object", properties: { name: { enum: ["Ada", "Tom"] } }, required: ["name"], additionalProperties: false };
const formed = await client.chat.completions.create({
  ...asked, max_tokens: 64, response_format: { type: "json_schema", json_schema: { name: "clerk", schema, strict: true } },
});
assert.ok(["Ada", "Tom"].includes(JSON.parse(formed.choices[0].message.content).name));

const vectors = await client.embeddings.create({ model, input: ["a", "b"] });
assert.equal(vectors.data.length, 2);

const response = await client.responses.create({ model, input: messages, max_output_tokens: 16, temperature: 0 });
assert.equal(response.output_text, streamed);

await assert.rejects(client.chat.completions.create({ ...asked, model: "no-such-name" }), OpenAI.NotFoundError);

const rows = Array.from({ length: 8 }, (_, n) => JSON.stringify({ prompt: `${n}`, completion: `${n}` })).join("\n");
const file = await client.files.create({ purpose: "fine-tune", file: await toFile(Buffer.from(rows), "rows.jsonl") });
const job = await client.fineTuning.jobs.create({ model: models[0], training_file: file.id, suffix: "from-node", hyperparameters: { n_epochs: 1 } });
assert.equal(job.object, "fine_tuning.job");
await client.fineTuning.jobs.cancel(job.id).catch(() => {});
await client.files.delete(file.id);
console.log("all checks hold");
