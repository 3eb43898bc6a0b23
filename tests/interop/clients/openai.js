// Reads one chat completion with OpenAI's client, and prints the received values as JSON.
//
//     node openai.js BASE_URL PROMPT
import OpenAI from "openai";

const [baseURL, prompt] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "k", baseURL, maxRetries: 0 });
const got = { text: "" };
try {
  const calls = [];
  const messages = [{ role: "user", content: prompt }];
  for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) {
    const [choice] = chunk.choices;
    got.text += choice.delta.content ?? "";
    for (const { index, id, function: called } of choice.delta.tool_calls ?? []) {
      calls[index] ??= { id, arguments: "" };
      calls[index].arguments += called.arguments ?? "";
    }
    if (choice.finish_reason) Object.assign(got, { calls, finish: choice.finish_reason });
    if (chunk.usage) got.usage = chunk.usage;
  }
} catch (error) {
  Object.assign(got, { error: error.error?.message ?? error.message, code: error.code });
}
console.log(JSON.stringify(got));
