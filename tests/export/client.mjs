// What a user of transformers.js does: node client.mjs MODELS_FOLDER NAME DTYPE, the rows as JSON on stdin.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , root, name, dtype] = process.argv;
const library = createRequire(`${process.env.TRANSFORMERS_JS}/`).resolve("@huggingface/transformers");
const { AutoTokenizer, AutoModelForSequenceClassification, env } = await import(pathToFileURL(library));
env.allowRemoteModels = false;
env.localModelPath = root;
const tokenizer = await AutoTokenizer.from_pretrained(name);
const model = await AutoModelForSequenceClassification.from_pretrained(name, { dtype });
const logits = [];
for (const [text, pair] of JSON.parse(readFileSync(0))) {
  const answer = await model(tokenizer(text, pair === undefined ? {} : { text_pair: pair }));
  logits.push(Array.from(answer.logits.data));
}
console.log(JSON.stringify(logits));
