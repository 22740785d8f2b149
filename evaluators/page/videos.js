
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id), GUTTER = 58, EDGE = 6, NONE = 255, STEPS = 254;
const AFFECT = 92, STRIP = 30, UNIT = 16, AXIS = 24, GAP = 12;
const canvas = $("curves");
let video = null, cursor = 0, waiting = false, colour = {};
function bytes(text) { return Uint8Array.from(atob(text), one => one.charCodeAt(0)); }
function legend(name, style) {
  const one = document.createElement("span"), mark = document.createElement("i");
  Object.assign(mark.style, style);
  one.append(mark, name);  // never as HTML: names come from files
  $("legend").append(one);
}
for (const [number, one] of data.videos.entries()) $("video").append(new Option(`${one.name} (${one.rows} frames)`, number));
if (data.affect.length) {
  legend("label", {background: "var(--ink)", height: "3px"});
  legend("predicted", {background: "var(--blue)", height: "3px"});
  legend("least to greatest of the frames that share a point", {background: "var(--blue)", opacity: .3});
}
for (const [name, of] of data.expressions) legend(name, {background: of});
if (data.units.length) {
  legend("unit labelled", {background: "var(--ink)"});
  legend("probability 0 to 1", {background: "linear-gradient(90deg, var(--card), var(--blue))", width: "40px"});
}
function opened(number) {
  const given = data.videos[number], made = {...given, cell: new Uint16Array(bytes(given.cell).buffer)};
  for (const task of ["valence_arousal", "expression", "action_units"]) if (given[task]) made[task] = bytes(given[task]);
  const steps = Array.from(made.cell.subarray(1), (cell, k) => cell - made.cell[k]).sort((a, b) => a - b);
  made.reach = 2 * (steps[steps.length >> 1] || 1);  // a cell lasts until the next one, but no longer than this
  made.cells = made.cell[made.cell.length - 1] + 1;
  return made;
}
function at(task, series, k) { return video[task][series * video.cell.length + k]; }
function affect(byte) { return byte / STEPS * 2 - 1; }
function number(value) { return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2); }
function x(cell) { return Math.round(GUTTER + cell / video.cells * (canvas.clientWidth - GUTTER - EDGE)); }
function ends(k) {  // where a cell begins and ends on the page
  const cell = video.cell, next = k + 1 < cell.length ? Math.min(cell[k + 1], cell[k] + video.reach) : cell[k] + 1;
  return [x(cell[k]), x(next)];
}
function joined(k) { return k > 0 && video.cell[k] - video.cell[k - 1] <= video.reach; }
function curve(pen, top, series) {
  const y = byte => top + (1 - byte / STEPS) * AFFECT, count = video.cell.length;
  pen.fillStyle = colour.blue;
  pen.globalAlpha = .3;
  for (let k = 0; k < count; k++) {
    const low = at("valence_arousal", 4 * series + 1, k), high = at("valence_arousal", 4 * series + 3, k);
    if (low === NONE || low === high) continue;
    const [left, right] = ends(k);
    pen.fillRect(left, y(high), Math.max(right - left, 1), y(low) - y(high));
  }
  pen.globalAlpha = 1;
  pen.lineWidth = 1.5;
  for (const [part, name] of [[0, "ink"], [2, "blue"]]) {
    pen.strokeStyle = pen.fillStyle = colour[name];
    pen.beginPath();
    let drawing = false;
    for (let k = 0; k < count; k++) {
      const value = at("valence_arousal", 4 * series + part, k), [left, right] = ends(k), middle = (left + right) / 2;
      const follows = drawing && joined(k) && value !== NONE;
      const goes = k + 1 < count && joined(k + 1) && at("valence_arousal", 4 * series + part, k + 1) !== NONE;
      drawing = value !== NONE;
      if (!drawing) continue;
      if (follows) pen.lineTo(middle, y(value)); else pen.moveTo(middle, y(value));
      if (!follows && !goes) pen.fillRect(middle - 1.5, y(value) - 1.5, 3, 3);
    }
    pen.stroke();
  }
}
function box(pen, k, top, height) {
  const [left, right] = ends(k);
  pen.fillRect(left, top, Math.max(right - left, 1), height);
}
function strips(pen, top) {
  for (let k = 0; k < video.cell.length; k++) {
    const label = at("expression", 0, k), said = at("expression", 1, k);
    if (label !== NONE) { pen.fillStyle = data.expressions[label][1]; box(pen, k, top, STRIP / 2 - 1); }
    if (said === NONE) continue;
    pen.fillStyle = data.expressions[said][1];
    box(pen, k, top + STRIP / 2, STRIP / 2);
  }
}
function units(pen, top) {
  for (let unit = 0; unit < data.units.length; unit++) {
    for (let k = 0; k < video.cell.length; k++) {
      for (const [part, name] of [[0, "ink"], [1, "blue"]]) {
        const value = at("action_units", 2 * unit + part, k), y = top + unit * UNIT + part * (UNIT / 2 - 1);
        if (value === NONE) continue;
        pen.fillStyle = colour.card;
        box(pen, k, y, UNIT / 2 - 1);
        pen.fillStyle = colour[name];
        pen.globalAlpha = value / STEPS;
        box(pen, k, y, UNIT / 2 - 1);
        pen.globalAlpha = 1;
      }
    }
  }
}
function axis(pen, top, width) {
  const frames = video.cells * video.width, room = frames / Math.max((width - GUTTER) / 90, 1);
  const step = [1, 2, 5, 10].map(one => one * 10 ** Math.floor(Math.log10(Math.max(room, 1)))).find(one => one >= room) || 1;
  pen.fillStyle = colour.muted;
  for (let frame = Math.ceil(video.first / step) * step; frame < video.first + frames; frame += step) {
    const place = x((frame - video.first) / video.width), half = pen.measureText(frame).width / 2;
    pen.fillRect(place, top, 1, 5);
    pen.fillText(frame, Math.min(Math.max(place, GUTTER + half), width - half), top + 13);
  }
}
function draw() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "muted", "card", "line", "none", "blue"]) colour[name] = style.getPropertyValue("--" + name).trim();
  const width = canvas.clientWidth, ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
  const height = data.affect.length * (AFFECT + GAP) + (data.expressions.length ? STRIP + GAP : 0) + data.units.length * UNIT + AXIS + 8;
  canvas.style.height = height + "px";
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  let top = 4;
  function name(text, y) { pen.fillStyle = colour.muted; pen.textAlign = "right"; pen.fillText(text, GUTTER - 6, y); }
  data.affect.forEach((title, series) => {
    pen.fillStyle = colour.line;
    for (const share of [0, .5, 1]) pen.fillRect(GUTTER, top + share * AFFECT, width - GUTTER - EDGE, 1);
    ["1", title, "−1"].forEach((text, k) => name(text, top + 5 + k * (AFFECT - 10) / 2));
    curve(pen, top, series);
    top += AFFECT + GAP;
  });
  function ground(height) { pen.fillStyle = colour.none; pen.fillRect(GUTTER, top, width - GUTTER - EDGE, height); }
  if (data.expressions.length) {
    ground(STRIP);
    name("label", top + STRIP / 4);
    name("predicted", top + 3 * STRIP / 4);
    strips(pen, top);
    top += STRIP + GAP;
  }
  if (data.units.length) {
    ground(data.units.length * UNIT - 1);
    data.units.forEach((title, k) => name(title, top + (k + .5) * UNIT));
    units(pen, top);
    top += data.units.length * UNIT;
  }
  pen.textAlign = "center";
  axis(pen, top, width);
  const [left, right] = ends(cursor);
  pen.fillStyle = colour.ink;
  pen.fillRect((left + right) / 2, 0, 1, top);
}
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}
function told() {
  const begin = video.first + video.cell[cursor] * video.width;
  const parts = [video.width > 1 ? `frames ${begin} to ${begin + video.width - 1}` : `frame ${begin}`];
  data.affect.forEach((title, series) => {
    const [label, said] = [0, 2].map(part => at("valence_arousal", 4 * series + part, cursor));
    parts.push(`${title}: label ${label === NONE ? "none" : number(affect(label))}, predicted ${said === NONE ? "none" : number(affect(said))}`);
  });
  if (data.expressions.length) {
    const [label, said, share] = [0, 1, 2].map(part => at("expression", part, cursor));
    const predicted = said === NONE ? "none" : `${data.expressions[said][0]} ${(share / STEPS).toFixed(2)}`;
    parts.push(`expression: label ${label === NONE ? "none" : data.expressions[label][0]}, predicted ${predicted}`);
  }
  if (data.units.length) {
    const [label, said] = [0, 1].map(part => data.units.filter((_, unit) => {
      const value = at("action_units", 2 * unit + part, cursor);
      return value !== NONE && value >= STEPS / 2;
    }).join(" ") || "none");
    parts.push(`units: label ${label}, at 0.5 or more ${said}`);
  }
  return parts.join(" · ");
}
function point(k) {
  cursor = Math.min(Math.max(k, 0), video.cell.length - 1);
  $("says").textContent = told();
  redraw();
}
function nearest(place) {
  let best = 0;
  for (let k = 1; k < video.cell.length; k++) {
    const [left, right] = ends(k), [from, to] = ends(best);
    if (Math.abs((left + right) / 2 - place) < Math.abs((from + to) / 2 - place)) best = k;
  }
  return best;
}
function show(number) {
  const chosen = Math.min(Math.max(number, 0), data.videos.length - 1);
  $("video").value = chosen;
  $("before").disabled = chosen === 0;
  $("after").disabled = chosen === data.videos.length - 1;
  video = opened(chosen);
  point(0);
}
$("video").onchange = () => show(Number($("video").value));
$("before").onclick = () => show(Number($("video").value) - 1);
$("after").onclick = () => show(Number($("video").value) + 1);
canvas.onpointermove = canvas.onpointerdown = event => point(nearest(event.clientX - canvas.getBoundingClientRect().left));
canvas.onkeydown = event => {
  const step = {ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10}[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  point(cursor + step);
};
window.onresize = redraw;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
show(0);
