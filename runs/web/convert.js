// The pixels of what a browser decoded.

import {picture} from "./pixels.js";

/**
 * The picture in a frame of a video, or in a bitmap. It is done with afterwards.
 *
 * The planes of a frame are turned into RGB here, as FFmpeg does it for predict.py: browsers mix neighbouring colours,
 * and what a network says of those differs by several hundredths.
 */
export async function read(source) {
  try {
    if (["I420", "NV12"].includes(source.format) && !source.rotation) return await planes(source);
    const width = source.displayWidth ?? source.width, height = source.displayHeight ?? source.height;
    const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true, alpha: false});
    context.drawImage(source, 0, 0);
    return fromRgba(width, height, context.getImageData(0, 0, width, height).data);
  } finally {
    source.close();
  }
}

/** The picture that a canvas gives: four bytes a pixel, of which the last is left out. */
export function fromRgba(width, height, rgba) {
  const made = picture(width, height), data = made.data;
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3) {
    data[to] = rgba[from];
    data[to + 1] = rgba[from + 1];
    data[to + 2] = rgba[from + 2];
  }
  return made;
}

async function planes(frame) {
  const {width, height} = frame.visibleRect, data = new Uint8Array(frame.allocationSize());
  const layout = await frame.copyTo(data), {matrix, fullRange} = frame.colorSpace;
  const [y, u] = layout, mixed = frame.format === "NV12", v = mixed ? {...u, offset: u.offset + 1} : layout[2];
  return fromPlanes(width, height, data, {y, u, v, apart: mixed ? 2 : 1}, matrix === "bt709", fullRange);
}

/**
 * RGB of planes, one pair of colours for each 2 x 2 pixels, in the whole numbers of FFmpeg on x86: factors of 13 bits,
 * and each product rounded down. `at` has offset and stride of y, u and v, and how far apart two values of u are.
 */
export function fromPlanes(width, height, data, at, bt709, fullRange) {
  const of = (bt709 ? [117489, 138438, -13975, -34925] : [104597, 132201, -25675, -53279])
    .map(one => Math.round((fullRange ? Math.trunc(one * 224 / 255) : one) / 8));
  const [red, blue, greenU, greenV] = of, bright = fullRange ? 8192 : 9539, black = fullRange ? 0 : 16;
  const made = picture(width, height), clamped = new Uint8ClampedArray(made.data.buffer);
  for (let row = 0, to = 0; row < height; row++) {
    const ys = at.y.offset + row * at.y.stride, us = at.u.offset + (row >> 1) * at.u.stride;
    const vs = at.v.offset + (row >> 1) * at.v.stride;
    for (let column = 0; column < width; column++, to += 3) {
      const step = (column >> 1) * at.apart, u = data[us + step] - 128, v = data[vs + step] - 128;
      const y = (data[ys + column] - black) * bright >> 13;
      clamped[to] = y + (red * v >> 13);
      clamped[to + 1] = y + (greenU * u >> 13) + (greenV * v >> 13);
      clamped[to + 2] = y + (blue * u >> 13);
    }
  }
  return made;
}
