// Where pictures come from: files of pictures, every frame of a video, a camera. Each is {time, source, bitmap}: source
// goes to the engine, and the bitmap is shown.

/** A sentence for the page. */
export class Told extends Error {}

const SHORTEST = 1 / 240;  // s between two frames at least
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
 * `shown(seconds, duration)` is told how far it is.
 */
export async function* framesOf(file, stopped) {
  const video = await opened(file);
  try {
    const first = await seek(video, 0);
    let at = first, step = SHORTEST, found = 0;
    for (;;) {
      yield {time: at - first, share: at / video.duration, ...await shownBy(video)};
      let next = at;
      for (let target = at + (found ? 1.25 : 1) * step; next <= at; target += found ? step / 2 : step) {
        if (stopped() || target > video.duration + 2 * step) return;
        next = await seek(video, Math.min(target, video.duration));
        if (target > video.duration && next <= at) return;
      }
      const length = Math.max(next - at, SHORTEST);
      step = found++ ? Math.min(step, length) : Math.min(length, USUAL);
      at = next;
    }
  } finally {
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
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
  return video;
}

/** Show the frame of a time, and return when its own time begins, s. */
async function seek(video, target) {
  await new Promise((resolve, reject) => {
    video.onseeked = resolve;
    video.onerror = () => reject(new Told("The video is damaged: a part of it cannot be decoded."));
    video.currentTime = target;
  });
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
