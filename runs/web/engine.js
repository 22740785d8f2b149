// What is said of pictures that come one after the other: faces found, followed, cut out, and given to the network.

import {cut, decode, detectorInput, putInput, reach, steady, toSquare} from "./faces.js";
import {People} from "./people.js";

const SLOW = 0.2;  // s between two pictures of a camera at most, as far as following faces goes

export class Engine {
  /** ort: ONNX Runtime; settings: settings.json; detector and model: the bytes of the two ONNX files. */
  static async make(ort, settings, detector, model) {
    const made = new Engine();
    const options = {executionProviders: ["wasm"], logSeverityLevel: 3};
    made.ort = ort;
    made.settings = settings;
    made.detector = await ort.InferenceSession.create(detector, options);
    made.model = await ort.InferenceSession.create(model, options);
    made.begin("pictures");
    return made;
  }

  /**
   * Begin anew. kind: "pictures", each by itself; "video", whose faces are followed, and steadied by the frames before
   * and after, so that answers come later; "camera", steadied by the frames before alone.
   */
  begin(kind) {
    this.kind = kind;
    this.people = new People(this.settings.people);
    this.waiting = [];  // pictures that nothing was said of yet
    this.passed = [];  // the last ones before them, without pixels
    this.count = 0;
    this.now = 0;
    this.last = 0;
  }

  /** Take the next picture, and its time in s or null. Return those that are finished now. */
  async look(image, time) {
    const faces = await this.find(image);
    this.now = Math.max(this.now + 1e-3, this.clock(time ?? this.count / this.settings.rate));
    const ids = this.kind === "pictures" ? faces.map((_, at) => at + 1) : this.people.follow(image, this.now, faces);
    faces.forEach((face, at) => {
      face.id = ids[at];
      face.square = toSquare(face);
    });
    this.waiting.push({number: this.count++, width: image.width, height: image.height, time, image, faces});
    return this.finish(this.kind === "video" ? reach(this.settings.smoothing) : 0);
  }

  /**
   * The time by which faces are followed. A camera that gives few pictures a second is not taken for one in front of
   * which every face was hidden in between.
   */
  clock(time) {
    if (this.kind !== "camera") return time;
    const now = this.now + Math.min(time - this.last, SLOW);
    this.last = time;
    return now;
  }

  /** Return what is left: no picture follows. */
  async end() {
    return this.finish(0);
  }

  async finish(ahead) {
    const finished = [];
    while (this.waiting.length > ahead) {
      const one = this.waiting.shift();
      const crops = one.faces.map(face => cut(one.image, this.steadied(one.number, face), this.settings.faces));
      const said = await this.ask(crops);
      one.faces.forEach((face, at) => { face.said = said[at]; });
      one.faces.sort((face, other) => this.kind === "pictures" ? 0 : face.id - other.id);
      delete one.image;
      this.passed.push(one);
      if (this.passed.length > reach(this.settings.smoothing)) this.passed.shift();
      finished.push(one);
    }
    return finished;
  }

  steadied(number, face) {
    if (this.kind === "pictures") return face.square;
    const others = [[0, face.square]], most = reach(this.settings.smoothing);
    for (const other of [...this.passed, ...this.waiting.slice(0, most)]) {
      const same = other.faces.find(one => one.id === face.id);
      if (same) others.push([other.number - number, same.square]);
    }
    return steady(face.square, others, this.settings.smoothing);
  }

  /** The faces of a picture from left to right, in its pixels. */
  async find(image) {
    const {faces, detector} = this.settings, input = detectorInput(image, faces.detection_size, detector.step);
    const given = {[this.detector.inputNames[0]]: new this.ort.Tensor("float32", input.data, input.dims)};
    const names = this.detector.outputNames.slice(0, 3), told = await this.detector.run(given, names);
    const [heat, size, shift] = names.map(name => told[name]);
    const found = decode(heat.data, size.data, shift.data, heat.dims[3], faces.confidence, detector);
    for (const face of found) for (const side of ["x", "y", "width", "height"]) face[side] /= input.scale;
    return found.sort((one, other) => one.x - other.x);
  }

  /** What the network says of crops: for each, lists of numbers by task. */
  async ask(crops) {
    if (!crops.length) return [];
    const {preprocessing, tasks} = this.settings, side = preprocessing.image_size;
    const data = new Uint8Array(3 * side * side * crops.length);
    crops.forEach((crop, at) => putInput(crop, preprocessing, data, 3 * side * side * at));
    const image = new this.ort.Tensor("uint8", data, [crops.length, 3, side, side]);
    const told = await this.model.run({image}, tasks);
    return crops.map((_, at) => Object.fromEntries(tasks.map(task => {
      const columns = told[task].dims[1];
      return [task, Array.from(told[task].data.slice(at * columns, (at + 1) * columns))];
    })));
  }
}
