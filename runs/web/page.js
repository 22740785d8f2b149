// What the page shows, and what its buttons do.

import {Analysis, lacks} from "./analysis.js";
import {colours, drawLanes, drawPicture, drawPlane, likeliest, personColour, pictureAt} from "./charts.js";
import {Told} from "./frames.js";

const $ = id => document.getElementById(id);
const LIVE = 600;  // pictures of a camera that are drawn
const TRAIL = 60;  // of them, in the plane

let analysis = null, live = false, chosen = null, cursor = null, waiting = false, begun = 0;
let last = null;  // the picture that is shown, and a copy of its bitmap

function make(tag, parent, text, name) {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (name) one.className = name;
  parent.append(one);
  return one;
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

async function start() {
  $("disk").remove();
  $("main").hidden = false;
  const lacking = lacks();
  if (lacking) return problem(lacking);
  analysis = new Analysis((name, share) => progress(`Loading ${name}`, share));
  try {
    await analysis.load();
  } catch (error) {
    progress("", null);
    return problem(`The networks cannot be loaded: ${error.message}`);
  }
  describe(analysis.settings);
  progress("Ready. Nothing that you open or record leaves this machine.", null);
  busy(false);
  document.documentElement.dataset.ready = "true";
}

function progress(text, share) {
  $("status").textContent = text;
  $("progress").hidden = share === null || share === undefined;
  $("progress").value = share ?? 0;
}

function busy(is) {
  for (const id of ["camera", "open"]) $(id).disabled = is;
  $("stop").disabled = !is;
  $("save").disabled = is || !analysis.pictures.length;
}

function describe(settings) {
  const {model, licence} = settings;
  $("facts").textContent = `${model.method}, ${model.checkpoint}; ${settings.learnt_from.trim()}. ` +
    "Networks can be wrong, and a probability is not an intensity.";
  const say = text => make("li", $("licences"), text);
  say(`The network: ${licence}.`);
  for (const {name, licence: of, free} of settings.weights) {
    const bound = free ? "" : " Whoever exported this page accepted that; the terms reach the network.";
    say(`Its training began with ${name}: ${of}.${bound}`);
  }
  if (settings.accepted_licences.length) say(`Accepted at the export: ${settings.accepted_licences.join(", ")}.`);
  say("CenterFace finds the faces (MIT licence), ONNX Runtime Web runs the networks (MIT licence).");
  say("The page is part of emma-cotex (Apache-2.0).");
  for (const [name, text] of [["model.md", "The network's card"], ["LICENCES.txt", "Each file, its source and licence"]]) {
    make("a", make("li", $("licences")), text).href = name;
  }
  const legend = $("legend"), curve = ["valence (−1 unpleasant, 1 pleasant)", "arousal (−1 calm, 1 excited)"];
  if (settings.tasks.includes("valence_arousal")) {
    settings.affect.forEach((name, at) => {
      const one = make("span", legend);
      make("i", one, undefined, "curve").style.background = `var(--${name})`;
      one.append(curve[at]);
    });
  }
  make("span", legend, "Rows: probabilities, the stronger the colour");
}

/** Do an analysis, and tell how it ended. */
async function analyse(work, isLive) {
  problem("");
  busy(true);
  [live, chosen, cursor, last, begun] = [isLive, null, null, null, performance.now()];
  $("people").replaceChildren();
  $("seen").hidden = true;
  let ended = "Done";
  try {
    await work();
  } catch (error) {
    problem(error instanceof Told ? error.message : `This went wrong: ${error.message}`);
    ended = "Ended";
    if (!analysis.stopped) await analysis.finish(show).catch(() => {});
  }
  const {pictures} = analysis, faces = pictures.reduce((sum, one) => sum + one.faces.length, 0);
  const notes = ["", ...analysis.notes].join(" ");
  const told = `${ended}: ${count(pictures.length, "picture")}, ${count(faces, "face")}${speed()}.${notes}`;
  progress(pictures.length ? told : "", null);
  busy(false);
  redraw();
}

function count(number, name) {
  return `${number} ${name}${number === 1 ? "" : "s"}`;
}

function speed() {
  const rate = analysis.pictures.length / (performance.now() - begun) * 1000;
  return `, ${rate.toFixed(1)} a second${live ? `, ${analysis.dropped} dropped` : ""}`;
}

function show(picture, bitmap, share) {
  progress(`${count(analysis.pictures.length, "picture")}${speed()}`, share);
  const canvas = last?.canvas ?? new OffscreenCanvas(1, 1);
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  last = {picture, canvas};
  for (const {id} of picture.faces) {
    chosen ??= id;
    if (!document.getElementById(`person${id}`)) addPerson(id);
  }
  $("seen").hidden = false;
  redraw();
}

function addPerson(id) {
  const button = make("button", $("people"));
  button.id = `person${id}`;
  make("i", button).style.background = personColour(id, analysis.settings);
  button.append(`face ${id}`);
  button.onclick = () => {
    chosen = id;
    redraw();
  };
}

/** What is said of the chosen person at the pictures that are drawn. */
function drawn() {
  const {pictures} = analysis, shown = live ? pictures.slice(-LIVE) : pictures;
  return {shown, samples: shown.map(one => one.faces.find(face => face.id === chosen)?.said ?? null)};
}

function redraw() {
  if (waiting || !last) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const {settings} = analysis, colour = colours(), {shown, samples} = drawn();
    drawPicture($("stage"), last.picture, last.canvas, chosen, settings);
    for (const button of $("people").children) button.setAttribute("aria-pressed", button.id === `person${chosen}`);
    const at = cursor === null || cursor >= shown.length ? shown.length - 1 : cursor;
    const plane = settings.tasks.includes("valence_arousal");
    $("plane").hidden = !plane;
    const trail = samples.slice(Math.max(at - TRAIL, 0), at + 1).filter(Boolean).map(said => said.valence_arousal);
    if (plane) drawPlane($("plane"), samples[at] ? trail : [], colour);
    drawLanes($("lanes"), samples, cursor === null ? null : at, settings, colour, number => label(shown[number], number));
    values(samples[at], shown[at], at);
  });
}

function label(picture, number) {
  if (!picture) return "";
  if (picture.time !== null) return `${picture.time.toFixed(2)} s`;
  return picture.image || `picture ${number + 1}`;
}

function values(said, picture, number) {
  const list = $("values"), {settings} = analysis;
  const rows = [["at", label(picture, number)], ["face", said ? String(chosen) : "not seen"]];
  if (said?.valence_arousal) {
    settings.affect.forEach((name, at) => rows.push([name, said.valence_arousal[at].toFixed(2).replace("-", "−")]));
  }
  if (said?.expression) {
    const [name, value] = likeliest(said, settings);
    rows.push([`likeliest: ${name}`, value.toFixed(2)]);
  }
  if (said?.action_units) {
    const units = settings.action_units.map((name, at) => [said.action_units[at], `${name}, ${settings.unit_names[at]}`]);
    units.sort((one, other) => other[0] - one[0]);
    for (const [value, name] of units.slice(0, 3)) rows.push([name, value.toFixed(2)]);
  }
  list.replaceChildren();
  for (const [name, value] of rows) {
    make("dt", list, name);
    make("dd", list, value);
  }
}

function open(files) {
  if (files.length) analyse(() => analysis.files([...files], show), false);
}

$("camera").onclick = () => analyse(() => analysis.camera(show), true);
$("open").onclick = () => $("files").click();
$("files").onchange = () => {
  open($("files").files);
  $("files").value = "";
};
$("stop").onclick = () => analysis.stop();
$("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([analysis.csv()], {type: "text/csv"}));
  link.download = `${analysis.pictures[0].video}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};
$("lanes").onpointermove = event => {
  cursor = pictureAt($("lanes"), event.offsetX, drawn().shown.length);
  redraw();
};
$("lanes").onpointerleave = () => {
  cursor = null;
  redraw();
};
document.ondragover = event => {
  event.preventDefault();
  document.body.classList.add("over");
};
document.ondragleave = () => document.body.classList.remove("over");
document.ondrop = event => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (analysis?.settings && analysis.stopped) open(event.dataTransfer.files);
};
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

/** For programs and tests: the CSV of files. */
window.analyse = async files => {
  await analyse(() => analysis.files(files, show), false);
  if (!$("problem").hidden) throw new Error($("problem").textContent);
  return analysis.csv();
};
start();
