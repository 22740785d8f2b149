// Runs the engine beside the page, which stays usable meanwhile: one call at a time, answered in order.

import {read} from "./convert.js";
import {Engine} from "./engine.js";
import * as ort from "./ort.wasm.bundle.min.mjs";

let engine = null, last = Promise.resolve();

const calls = {
  async load(folder) {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = {wasm: new URL("ort-wasm-simd-threaded.wasm", folder).href};
    const settings = await (await get(folder, "settings.json")).json();
    const files = [];
    for (const name of [settings.files.detector, settings.files.model]) files.push(await bytes(folder, name));
    engine = await Engine.make(ort, settings, ...files);
    return settings;
  },
  begin: kind => engine.begin(kind),
  look: async (source, time) => engine.look(await read(source), time),
  end: () => engine.end(),
};

async function get(folder, name) {
  const answer = await fetch(new URL(name, folder), {cache: "no-cache"});  // another export may have come since
  if (!answer.ok) throw new Error(`${name} is missing in the folder of this page: export it again`);
  return answer;
}

/** The bytes of a file, which may have hundreds of megabytes: kept once, and its progress told. */
async function bytes(folder, name) {
  const answer = await get(folder, name), total = Number(answer.headers.get("Content-Length"));
  if (!total) return new Uint8Array(await answer.arrayBuffer());
  const made = new Uint8Array(total), reader = answer.body.getReader();
  for (let at = 0; ;) {
    const {done, value} = await reader.read();
    if (done) return made;
    made.set(value, at);
    at += value.length;
    postMessage({loading: name, share: at / total});
  }
}

onmessage = ({data: {id, call, given}}) => {
  last = last.then(async () => {
    try {
      postMessage({id, answer: await calls[call](...given)});
    } catch (error) {
      postMessage({id, error: error instanceof Error ? error.message : String(error)});
    }
  });
};
