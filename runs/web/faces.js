// Faces: what CenterFace's outputs mean, squares that are steady over time, and how they are cut out.
// videos/centerface.py, videos/tracks.py and videos/faces.py do the same; their numbers come in settings.json.

import {clip, picture, resize, rint} from "./pixels.js";

/** A picture for the detector: floats (1, 3, height, width), sides multiples of `step`, and by what it was scaled. */
export function detectorInput(image, longest, step) {
  const scale = Math.min(1, longest / Math.max(image.width, image.height));
  const small = scale === 1 ? image : resize(
    image, Math.max(1, rint(image.width * scale)), Math.max(1, rint(image.height * scale)), "area");
  const width = Math.ceil(small.width / step) * step, height = Math.ceil(small.height / step) * step;
  const data = new Float32Array(3 * width * height);
  for (let y = 0; y < small.height; y++) {
    for (let x = 0; x < small.width; x++) {
      const from = 3 * (y * small.width + x), to = y * width + x;
      for (let colour = 0; colour < 3; colour++) data[colour * width * height + to] = small.data[from + colour];
    }
  }
  return {data, dims: [1, 3, height, width], scale};
}

/**
 * Faces {x, y, width, height, score} of the network's outputs, each once, the most certain first.
 * heat (h, w); logSize (2, h, w), height and width; shift (2, h, w), y and x; all in cells.
 */
export function decode(heat, logSize, shift, columns, confidence, detector) {
  const faces = [], cells = heat.length, cell = detector.cell, least = Math.fround(confidence);
  for (let at = 0; at < cells; at++) {
    if (heat[at] < least) continue;
    const y = Math.floor(at / columns) + 0.5 + shift[at], x = at % columns + 0.5 + shift[cells + at];
    const height = Math.exp(logSize[at]), width = Math.exp(logSize[cells + at]);
    const [left, top] = [cell * (x - width / 2), cell * (y - height / 2)];
    faces.push({x: left, y: top, width: cell * width, height: cell * height, score: heat[at]});
  }
  return distinct(faces.sort((one, other) => other.score - one.score), detector.overlap);
}

/** Leave out faces, the most certain first, that overlap with a more certain one which is kept. */
export function distinct(faces, least) {
  const kept = [];
  for (const face of faces) {
    if (kept.every(other => overlap(face, other) < least)) kept.push(face);
  }
  return kept;
}

function overlap(one, other) {
  const side = (from, size) => Math.max(
    Math.min(one[from] + one[size], other[from] + other[size]) - Math.max(one[from], other[from]), 0);
  const common = side("x", "width") * side("y", "height");
  return common / (one.width * one.height + other.width * other.height - common);
}

/** The square [x and y of its centre, side] around a face, as large as its longer side. */
export function toSquare(face) {
  return [face.x + face.width / 2, face.y + face.height / 2, Math.max(face.width, face.height)];
}

/** How far apart the centres of two squares are, in sides of the larger; infinite where their sizes do not fit. */
export function distance(one, other, growth) {
  const large = Math.max(one[2], other[2]), small = Math.min(one[2], other[2]);
  return large > growth * small ? Infinity : Math.hypot(one[0] - other[0], one[1] - other[1]) / large;
}

/** A square averaged with those before and after it: `others` are [offset in frames, square] of the same face. */
export function steady(square, others, smoothing) {
  const sums = [0, 0, 0], size = Math.log(square[2]);
  let weights = 0;
  for (const [offset, other] of others) {
    const away = Math.hypot(other[0] - square[0], other[1] - square[1]) / square[2], grown = Math.log(other[2]);
    if (away > smoothing.still || Math.abs(grown - size) > smoothing.still) continue;
    const weight = Math.exp(-0.5 * (offset / smoothing.sigma) ** 2);
    [other[0], other[1], grown].forEach((value, k) => { sums[k] += weight * value; });
    weights += weight;
  }
  return [sums[0] / weights, sums[1] / weights, Math.exp(sums[2] / weights)];
}

/** How many frames before and after one it is averaged with. */
export function reach(smoothing) {
  return Math.trunc(3 * smoothing.sigma);
}

/** Cut out a square and its margin, repeating the pixels at the picture's edge where it reaches outside. */
export function cut(image, square, {margin, size}) {
  const side = Math.max(1, rint(square[2] * (1 + 2 * margin))), whole = picture(side, side);
  const [columns, rows] = [[square[0], image.width], [square[1], image.height]].map(([centre, length]) =>
    Array.from({length: side}, (_, number) => clip(rint(centre - side / 2) + number, 0, length - 1)));
  let to = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = 3 * (row * image.width + column);
      for (let colour = 0; colour < 3; colour++) whole.data[to++] = image.data[from + colour];
    }
  }
  return resize(whole, size, size, side > size ? "area" : "cubic");
}

/** The network's input of a crop: bytes (3, side, side), appended to `data` at `start`. */
export function putInput(crop, {image_size: side, interpolation}, data, start) {
  const how = crop.width > side ? "area" : interpolation === "bicubic" ? "cubic" : "linear";
  const image = resize(crop, side, side, how), pixels = side * side;
  for (let at = 0; at < pixels; at++) {
    for (let colour = 0; colour < 3; colour++) data[start + colour * pixels + at] = image.data[3 * at + colour];
  }
}
