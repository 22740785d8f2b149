// The table: numbers of frames, and the CSV file with the columns of predict.py's.

import {rint} from "./pixels.js";

/**
 * Number pictures from 1 by their times, so that a lost one leaves a gap; null where times have no constant rate.
 * videos/numbering.py does the same.
 */
export function frameNumbers(times, tolerance) {
  if (times.length === 1) return [1];
  if (!times.length || times.some(time => time === null)) return null;
  const gaps = times.slice(1).map((time, at) => time - times[at]);
  if (gaps.some(gap => gap <= 0)) return null;
  const limit = 1.5 * median(gaps), usual = gaps.filter(gap => gap < limit);
  const mean = usual.reduce((sum, gap) => sum + gap, 0) / usual.length;
  const periods = gaps.map(gap => gap / mean), steps = periods.map(rint), passed = [0];
  for (const step of steps) passed.push(passed.at(-1) + step);
  const period = (times.at(-1) - times[0]) / passed.at(-1);
  const off = periods.map((one, at) => one - steps[at]);
  times.forEach((time, at) => off.push((time - times[0]) / period - passed[at]));
  const numbers = passed.map(one => rint(Math.max(times[0], 0) / period) + one + 1);
  const wrong = steps.some(step => step < 1) || off.some(one => Math.abs(one) > tolerance);
  return wrong || numbers.at(-1) > 2 * times.length ? null : numbers;
}

function median(values) {
  const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Names of the columns of what the network says. */
export function saidColumns(model) {
  const names = {
    valence_arousal: model.affect,
    expression: model.expressions.map(name => `expr_${name}`),
    action_units: model.action_units,
  };
  return model.tasks.flatMap(task => names[task]);
}

export const COLUMNS = [
  "row", "video", "frame", "image", "timestamp", "face_id", "success", "detection_score", "x", "y", "width", "height",
];

/** CSV of pictures [{video, frame, image, time, faces: [{id, x, y, width, height, score, said}]}]. */
export function toCsv(pictures, model) {
  const columns = [...COLUMNS, ...saidColumns(model)], lines = [columns.join(",")];
  let row = 0;
  for (const {video, frame, image, time, faces} of pictures) {
    const before = () => [row++, quoted(video), frame, quoted(image), time ?? ""];
    if (!faces.length) lines.push([...before(), "", "false", ...Array(columns.length - 7).fill("")].join(","));
    for (const face of faces) {
      const said = model.tasks.flatMap(task => face.said[task]);
      const numbers = [face.score, face.x, face.y, face.width, face.height, ...said];
      lines.push([...before(), face.id, "true", ...numbers.map(single)].join(","));
    }
  }
  return lines.join("\n") + "\n";
}

/** As many digits as give back the number with 32 bits. */
export function single(value) {
  const wanted = Math.fround(value);
  for (let digits = 6; digits < 9; digits++) {
    const text = Number(wanted.toPrecision(digits));
    if (Math.fround(text) === wanted) return String(text);
  }
  return String(Number(wanted.toPrecision(9)));
}

function quoted(text) {
  return `"${text.replaceAll('"', '""')}"`;
}
