// An analysis from the first picture to the table. The page and its tests call this.

import {camera, closeCamera, framesOf, pictureOf, shownBy, Told} from "./frames.js";
import {frameNumbers, toCsv} from "./table.js";

// the smallest module with an instruction of SIMD: a function that returns i8x16.popcnt of i8x16.splat of 0
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);

const UNEVEN = "The frames of this video come unevenly, and this browser may have left some out.";

/** Say what this browser lacks; nothing where it has all. */
export function lacks() {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD)) {
    return "This browser has no WebAssembly with SIMD, which the networks need: take a newer one.";
  }
  if (typeof VideoFrame !== "function" || typeof OffscreenCanvas !== "function") {
    return "This browser gives no access to the frames of a video (WebCodecs): take a newer one.";
  }
  return "";
}

export class Analysis {
  /** loading(name, share) is told how much of a file is there. */
  constructor(loading = () => {}) {
    this.waiting = new Map();
    this.count = 0;
    this.pictures = [];
    this.stopped = true;
    // a worker made of a blob is bound by the page's Content-Security-Policy, too; one made of a file would not be
    const code = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
    const place = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
    this.worker = new Worker(place, {type: "module"});
    this.worker.onmessage = ({data}) => {
      if (data.loading) return loading(data.loading, data.share);
      const {resolve, reject} = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      return data.error ? reject(new Error(data.error)) : resolve(data.answer);
    };
    this.worker.onerror = event => {
      const why = new Error(event.message || "a file of this page is missing: export it again");
      for (const {reject} of this.waiting.values()) reject(why);
      this.waiting.clear();
    };
  }

  async load() {
    this.settings = await this.call("load", [new URL(".", import.meta.url).href]);
    return this.settings;
  }

  call(name, given = [], passed = []) {
    return new Promise((resolve, reject) => {
      const id = ++this.count;
      this.waiting.set(id, {resolve, reject});
      this.worker.postMessage({id, call: name, given}, passed);
    });
  }

  /** Analyse files: one video, or pictures. shown(picture, bitmap, share) sees each that is finished. */
  async files(files, shown = () => {}) {
    const videos = files.filter(file => !file.type.startsWith("image/"));
    if (videos.length && files.length > 1) throw new Told("Give one video, or any number of pictures.");
    return videos.length ? this.video(videos[0], shown) : this.images(files, shown);
  }

  async images(files, shown) {
    await this.begin("pictures");
    for (const [at, file] of files.entries()) {
      if (this.stopped) break;
      const about = {video: stem(file.name), image: file.name, frame: 1};
      try {
        await this.add(await pictureOf(file), about, (at + 1) / files.length, shown);
      } catch (error) {
        if (!(error instanceof Told)) throw error;
        this.notes.push(error.message);
        this.pictures.push({...about, time: null, faces: []});
      }
    }
    if (files.length && this.notes.length === files.length) {
      this.pictures = [];
      throw new Told(this.notes[0]);
    }
    return this.finish(shown);
  }

  async video(file, shown) {
    await this.begin("video");
    const about = {video: stem(file.name), image: file.name};
    for await (const frame of framesOf(file, () => this.stopped)) await this.add(frame, about, frame.share, shown);
    return this.finish(shown);
  }

  /** Follow a camera until `stop`; frames that come while one is looked at are counted as dropped. */
  async camera(shown = () => {}) {
    const video = await camera();
    try {
      await this.begin("camera");
      const first = performance.now();
      let before = 0;
      this.dropped = 0;
      while (!this.stopped && video.srcObject.active) {
        const told = await new Promise(resolve => video.requestVideoFrameCallback((_, one) => resolve(one)));
        if (before) this.dropped += told.presentedFrames - before - 1;
        before = told.presentedFrames;
        const frame = {time: (performance.now() - first) / 1000, ...await shownBy(video)};
        await this.add(frame, {video: "camera", image: ""}, null, shown);
      }
      if (!this.stopped) throw new Told("The camera has ended: it was unplugged, or taken away from this page.");
    } finally {
      closeCamera(video);
    }
    return this.finish(shown);
  }

  stop() {
    this.stopped = true;
  }

  csv() {
    return toCsv(this.pictures, this.settings);
  }

  async begin(kind) {
    this.kind = kind;
    this.pictures = [];
    this.bitmaps = [];
    this.notes = [];  // sentences about what is missing
    this.stopped = false;
    await this.call("begin", [kind]);
  }

  async add({time, source, bitmap}, about, share, shown) {
    this.bitmaps.push({bitmap, about, share});
    this.take(await this.call("look", [source, time], [source]), shown);
  }

  async finish(shown) {
    this.take(await this.call("end"), shown);
    this.stopped = true;
    const times = this.pictures.map(one => one.time), numbered = this.pictures[0]?.frame;
    const byTime = numbered ? null : frameNumbers(times, this.settings.tolerance);
    this.pictures.forEach((one, at) => { one.frame ??= byTime ? byTime[at] : at + 1; });
    if (this.kind === "video" && byTime?.at(-1) !== this.pictures.length) this.notes.push(UNEVEN);
    return this.pictures;
  }

  take(finished, shown) {
    for (const picture of finished) {
      const {bitmap, about, share} = this.bitmaps.shift();
      Object.assign(picture, about);
      this.pictures.push(picture);
      shown(picture, bitmap, share);
      bitmap.close();
    }
  }
}

function stem(name) {
  return name.replace(/(?<=.)\.[^.]*$/, "");
}
