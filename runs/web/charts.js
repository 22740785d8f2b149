// Drawings: boxes over a picture, the plane of valence and arousal, and what is said of one person over time.

const GUTTER = 78, EDGE = 4, CURVES = 110, ROW = 14, GAP = 10;

/** The colours of the page, light or dark. */
export function colours() {
  const style = getComputedStyle(document.documentElement), made = {};
  for (const name of ["ink", "muted", "card", "line", "none", "valence", "arousal", "unit"]) {
    made[name] = style.getPropertyValue(`--${name}`).trim();
  }
  return made;
}

export function personColour(id, settings) {
  const {people} = settings.colours;
  return people[(id - 1) % people.length];
}

/** The name and the probability of the likeliest expression. */
export function likeliest(said, settings) {
  if (!said.expression) return null;
  const best = said.expression.indexOf(Math.max(...said.expression));
  return [settings.expressions[best], said.expression[best]];
}

function prepared(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  return pen;
}

/** A picture with a box and a word for each face. */
export function drawPicture(canvas, picture, bitmap, chosen, settings) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  const pen = canvas.getContext("2d"), unit = Math.max(picture.width, picture.height) / 640;
  pen.drawImage(bitmap, 0, 0, picture.width, picture.height);
  pen.font = `${Math.round(15 * unit)}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  for (const face of picture.faces) {
    const colour = personColour(face.id, settings), best = likeliest(face.said, settings);
    pen.strokeStyle = colour;
    pen.lineWidth = (face.id === chosen ? 4 : 2) * unit;
    pen.strokeRect(face.x, face.y, face.width, face.height);
    const text = `${face.id}${best ? ` ${best[0]} ${best[1].toFixed(2)}` : ""}`;
    const wide = pen.measureText(text).width + 10 * unit;
    const left = Math.min(Math.max(face.x, 0), picture.width - wide), high = 22 * unit;
    const top = face.y > high ? face.y - high : Math.min(face.y + face.height, picture.height - high);
    pen.fillStyle = colour;
    pen.fillRect(left, top, wide, high);
    pen.fillStyle = "#fff";
    pen.fillText(text, left + 5 * unit, top + high / 2);
  }
}

/** Valence to the right, arousal upwards: where the face is, and where it was. `trail` holds [valence, arousal]. */
export function drawPlane(canvas, trail, colour) {
  const width = canvas.clientWidth, height = canvas.clientHeight, pen = prepared(canvas, width, height);
  const side = Math.min(width, height) - 36, left = (width - side) / 2, top = (height - side) / 2;
  const at = ([valence, arousal]) => [left + (valence + 1) / 2 * side, top + (1 - arousal) / 2 * side];
  pen.strokeStyle = colour.line;
  pen.lineWidth = 1;
  pen.strokeRect(left, top, side, side);
  pen.beginPath();
  for (const line of [[[-1, 0], [1, 0]], [[0, -1], [0, 1]]]) {
    pen.moveTo(...at(line[0]));
    pen.lineTo(...at(line[1]));
  }
  pen.stroke();
  pen.fillStyle = colour.muted;
  pen.textAlign = "center";
  pen.fillText("arousal 1, excited", left + side / 2, top - 9);
  pen.fillText("−1, calm", left + side / 2, top + side + 9);
  for (const [text, x, turn] of [["valence 1, pleasant", left + side + 9, 1], ["−1, unpleasant", left - 9, -1]]) {
    pen.save();
    pen.translate(x, top + side / 2);
    pen.rotate(turn * Math.PI / 2);
    pen.fillText(text, 0, 0);
    pen.restore();
  }
  pen.fillStyle = colour.valence;
  trail.forEach((one, number) => {
    const [x, y] = at(one), last = number === trail.length - 1;
    pen.globalAlpha = last ? 1 : 0.1 + 0.5 * number / trail.length;
    pen.beginPath();
    pen.arc(x, y, last ? 6 : 2.5, 0, 2 * Math.PI);
    pen.fill();
  });
  pen.globalAlpha = 1;
}

/** What is said of one person: `samples` holds what is said at each picture, null where it is not seen. */
export function drawLanes(canvas, samples, cursor, settings, colour, label) {
  const {tasks, affect, expressions, action_units: units} = settings, has = task => tasks.includes(task);
  const parts = [
    has("valence_arousal") && {height: CURVES, draw: curves},
    has("expression") && {height: expressions.length * ROW, draw: heat, task: "expression", names: expressions},
    has("action_units") && {height: units.length * ROW, draw: heat, task: "action_units", names: units},
  ].filter(Boolean);
  const height = parts.reduce((sum, part) => sum + part.height + GAP, 20), width = canvas.clientWidth;
  const pen = prepared(canvas, width, height), room = width - GUTTER - EDGE;
  const columns = Math.min(samples.length, Math.floor(room)), x = at => Math.round(GUTTER + at / columns * room);
  const shown = Array.from({length: columns}, (_, at) => samples[Math.floor(at * samples.length / columns)]);
  let top = 2;
  for (const part of parts) {
    pen.fillStyle = colour.none;
    pen.fillRect(GUTTER, top, room, part.height);
    pen.fillStyle = colour.card;
    shown.forEach((said, at) => { if (said) pen.fillRect(x(at), top, x(at + 1) - x(at), part.height); });
    part.draw(pen, {...part, shown, x, top, room, affect, settings, colour});
    top += part.height + GAP;
  }
  pen.fillStyle = colour.muted;
  pen.textAlign = "left";
  pen.fillText(label(0), GUTTER, top + 2);
  pen.textAlign = "right";
  pen.fillText(label(samples.length - 1), width - EDGE, top + 2);
  if (cursor !== null) {
    pen.fillStyle = colour.ink;
    pen.fillRect(x((cursor + 0.5) * columns / samples.length), 0, 1, height - 20);
  }
}

/** Which picture is at a place on the lanes. */
export function pictureAt(canvas, place, count) {
  const share = (place - GUTTER) / (canvas.clientWidth - GUTTER - EDGE);
  return share >= 0 && share < 1 ? Math.floor(share * count) : null;
}

function curves(pen, {shown, x, top, height, room, affect, colour}) {
  const y = value => top + 4 + (1 - value) / 2 * (height - 8);
  pen.fillStyle = colour.line;
  for (const value of [1, 0, -1]) pen.fillRect(GUTTER, y(value), room, 1);
  pen.fillStyle = colour.muted;
  pen.textAlign = "right";
  for (const [value, text] of [[1, "1"], [0, "0"], [-1, "−1"]]) pen.fillText(text, GUTTER - 6, y(value));
  affect.forEach((name, index) => {
    pen.strokeStyle = pen.fillStyle = colour[name];
    pen.lineWidth = 1.6;
    pen.beginPath();
    shown.forEach((said, at) => {
      if (!said) return;
      const middle = (x(at) + x(at + 1)) / 2, level = y(said.valence_arousal[index]);
      if (shown[at - 1]) pen.lineTo(middle, level);
      else pen.moveTo(middle, level);
      if (!shown[at - 1] && !shown[at + 1]) pen.fillRect(middle - 2, level - 2, 4, 4);
    });
    pen.stroke();
  });
}

function heat(pen, {shown, x, top, task, names, settings, colour}) {
  names.forEach((name, row) => {
    const y = top + row * ROW;
    pen.fillStyle = task === "expression" ? settings.colours.expressions[name] : colour.unit;
    shown.forEach((said, at) => {
      if (!said) return;
      pen.globalAlpha = said[task][row];
      pen.fillRect(x(at), y, x(at + 1) - x(at), ROW - 1);
    });
    pen.globalAlpha = 1;
    pen.fillStyle = colour.muted;
    pen.textAlign = "right";
    pen.fillText(name, GUTTER - 6, y + ROW / 2);
  });
}
