// node apply.mjs PROMPT.vprompt IN.png OUT.png

import { readFile, writeFile } from "node:fs/promises";

import { decodePng, encodePng } from "./png.mjs";
import { loadPrompt } from "./prompt.mjs";

const [promptPath, source, target] = process.argv.slice(2);
if (target === undefined) {
  console.error("usage: node apply.mjs PROMPT.vprompt IN.png OUT.png");
  process.exit(2);
}
try {
  const prompt = await loadPrompt(await readFile(promptPath));
  await writeFile(target, await encodePng(prompt.apply(await decodePng(await readFile(source)))));
} catch (error) {
  console.error(error.name === "PromptError" ? `${promptPath}: ${error.message}` : error);
  process.exit(1);
}
