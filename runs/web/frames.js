// Where pictures come from: files of pictures, every frame of a video, a camera. Each is {time, source, bitmap}: source
// goes to the engine, and the bitmap is shown.

/** A sentence for the page. */
export class Told extends Error {}

const SHORTEST = 1 / 240;  // s between two frames at least
const UNSEEN = 500;  // ms after which a frame is taken without being told that it is there
const FAR = 1e7;  // s, after the end of any video
const USUAL = 1 / 30;  // s: steps are not longer, so that a slow beginning hides no frames that follow faster

export async function pictureOf(file) {
  try {
    const bitmap = await createImageBitmap(file, {premultiplyAlpha: "none", colorSpaceConversion: "none"});
    return {time: null, source: await createImageBitmap(bitmap), bitmap};
  } catch {
    throw new Told(`${file.name} is no picture that this browser can read.`);
  }
}

/**
 * Every frame of a video once, in order, found by seeking: playing would leave out those for which there is no time.
 * `stopped()` tells whether to go on.
 */
export async function* framesOf(file, stopped) {
  const video = await opened(file);
  try {
    const first = await seek(video, 0);
    let place = {at: first, target: 0}, step = 0;
    for (;;) {
      yield {time: place.at - first, share: place.at / video.duration, ...await shownBy(video)};
      const next = await following(video, place, step, stopped);
      if (!next) return;
      step = Math.min(step || USUAL, Math.max(next.at - place.at, SHORTEST));
      place = next;
    }
  } finally {
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
  }
}

/**
 * Find the frame after one, and show it; null at the end. `at` is when the frame begins, `target` where it was found: a
 * browser may show frames later than they begin. step: from target to target, s; 0: not known yet.
 */
async function following(video, {at, target}, step, stopped) {
  let wide = step || SHORTEST;
  for (;;) {
    if (stopped() || target >= video.duration) return null;
    target = Math.min(target + wide, video.duration);
    const next = await seek(video, target);
    if (next > at) return {at: next, target};
    wide = step ? step / 2 : SHORTEST;
  }
}

async function opened(file) {
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  video.src = URL.createObjectURL(file);
  const told = await new Promise(resolve => {
    video.onloadeddata = () => resolve("");
    video.onerror = () => resolve(`${file.name} is no video that this browser can play.`);
  });
  if (!told && !video.videoWidth) throw new Told(`${file.name} has sound alone, and no pictures.`);
  if (told) throw new Told(told);
  if (!Number.isFinite(video.duration)) await seek(video, FAR);  // a recording of a browser: then it is looked for
  if (!Number.isFinite(video.duration)) throw new Told(`${file.name} does not say how long it is: convert it to MP4.`);
  return video;
}

/**
 * Show the frame of a time, and return when its own time begins, s.
 *
 * `seeked` may come before the frame is there; browsers tell that by requestVideoFrameCallback, but not of a page in the
 * background, where nothing is drawn.
 */
async function seek(video, target) {
  let asked = 0, timer = 0;
  const there = new Promise(resolve => { asked = video.requestVideoFrameCallback(resolve); });
  await new Promise((resolve, reject) => {
    video.onseeked = resolve;
    video.onerror = () => reject(new Told("The video is damaged: a part of it cannot be decoded."));
    video.currentTime = target;
  });
  await Promise.race([there, new Promise(resolve => { timer = setTimeout(resolve, UNSEEN); })]);
  clearTimeout(timer);
  video.cancelVideoFrameCallback(asked);
  const frame = new VideoFrame(video), time = frame.timestamp / 1e6;
  frame.close();
  return time;
}

/** What a video shows now. */
export async function shownBy(video) {
  const source = new VideoFrame(video);
  return {source, bitmap: await createImageBitmap(source)};
}

/** Open the camera, and return the element that plays it. */
export async function camera() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 640}, height: {ideal: 480}}});
  } catch (error) {
    const why = {
      NotAllowedError: "The camera was not allowed: allow it beside the address of this page, and try again.",
      NotFoundError: "No camera was found: plug one in, or open a file.",
      NotReadableError: "The camera is in use by another program: close that, and try again.",
    };
    throw new Told(why[error.name] ?? `The camera cannot be used: ${error.message}.`);
  }
  const video = document.createElement("video");
  video.muted = true;
  video.srcObject = stream;
  await video.play();
  return video;
}

export function closeCamera(video) {
  for (const track of video.srcObject.getTracks()) track.stop();
  video.srcObject = null;
}
