// Renders many prompts in one process: node render_many.mjs MODULES < jobs.json > answers.json

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const modules = pathToFileURL(`${process.argv[2]}/`);
const { loadPrompt } = await import(new URL("prompt.mjs", modules));
const { decodePng } = await import(new URL("png.mjs", modules));

const chunks = [];
for await (const chunk of process.stdin) {
  chunks.push(chunk);
}
const answers = [];
for (const { bundle, image, output, question } of JSON.parse(Buffer.concat(chunks).toString())) {
  answers.push(await answer(bundle, image, output, question));
}
process.stdout.write(JSON.stringify(answers));

async function answer(bundle, image, output, question) {
  try {
    const prompt = await loadPrompt(await readFile(bundle));
    const { width, height, data } = prompt.apply(await decodePng(await readFile(image)));
    await writeFile(output, data);
    const context = prompt.context().map(({ picture, text }) => ({
      text,
      size: [picture.width, picture.height],
      pixels: Buffer.from(picture.data).toString("base64"),
    }));
    return { size: [width, height], asked: prompt.ask(question), context };
  } catch (error) {
    return { error: error.name === "PromptError" ? error.message : error.stack };
  }
}
