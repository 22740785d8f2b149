// Pictures as three bytes a pixel (RGB), and OpenCV's ways of resizing them, which predict.py uses.

/** A picture: width, height, and data, a Uint8Array of 3 * width * height. */
export function picture(width, height, data) {
  return {width, height, data: data ?? new Uint8Array(3 * width * height)};
}

/** Round to the nearest whole number, and halves to the even one, as Python and OpenCV do. */
export function rint(value) {
  const below = Math.floor(value), rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

export function clip(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

/** Resize: "area" averages where nothing is enlarged, "linear" and "cubic" interpolate. */
export function resize(image, width, height, how) {
  if (image.width === width && image.height === height) return image;
  if (how === "area" && width <= image.width && height <= image.height) return averaged(image, width, height);
  const make = how === "cubic" ? cubicTaps : how === "area" ? areaTaps : linearTaps;
  return interpolated(image, make(image.width, width), make(image.height, height));
}

// ---- averaging: each pixel is the mean of the part of the picture that it covers

function averaged(image, width, height) {
  const wide = image.width / width, high = image.height / height;
  const twice = wide === 2 && high === 2;  // OpenCV rounds halves up there, and nowhere else
  const columns = shares(image.width, width), rows = shares(image.height, height);
  const made = picture(width, height), line = new Float32Array(3 * width), sums = new Float32Array(3 * width);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let k = rows.start[y]; k < rows.start[y + 1]; k++) {
      across(image, rows.from[k], columns, line);
      for (let x = 0; x < sums.length; x++) sums[x] += rows.share[k] * line[x];
    }
    const to = 3 * width * y;
    for (let x = 0; x < sums.length; x++) {
      made.data[to + x] = clip(twice ? Math.floor(sums[x] + 0.5) : rint(sums[x]), 0, 255);
    }
  }
  return made;
}

/** One line of a picture, averaged from left to right. */
function across(image, row, columns, line) {
  const data = image.data, start = 3 * image.width * row;
  for (let x = 0; x < columns.start.length - 1; x++) {
    let red = 0, green = 0, blue = 0;
    for (let k = columns.start[x]; k < columns.start[x + 1]; k++) {
      const at = start + 3 * columns.from[k], share = columns.share[k];
      red += share * data[at];
      green += share * data[at + 1];
      blue += share * data[at + 2];
    }
    line[3 * x] = red;
    line[3 * x + 1] = green;
    line[3 * x + 2] = blue;
  }
}

/** Which pixels make up each new one along an axis, and with which share. */
function shares(size, wanted) {
  const scale = size / wanted, start = [], from = [], share = [];
  for (let number = 0; number < wanted; number++) {
    start.push(from.length);
    const first = number * scale, end = first + scale, cell = Math.min(scale, size - first);
    const last = Math.min(Math.floor(end), size - 1), whole = Math.min(Math.ceil(first), last);
    const add = (pixel, part) => {
      from.push(pixel);
      share.push(Math.fround(part / cell));
    };
    if (whole - first > 1e-3) add(whole - 1, whole - first);
    for (let pixel = whole; pixel < last; pixel++) add(pixel, 1);
    if (end - last > 1e-3) add(last, Math.min(Math.min(end - last, 1), cell));
  }
  start.push(from.length);
  return {start, from, share};
}

// ---- interpolation: each pixel is a weighted sum of two or four neighbours

const BITS = 2048;  // two neighbours have weights of 11 bits

function interpolated(image, columns, rows) {
  const width = columns.length, made = picture(width, rows.length), kept = new Map();
  const line = row => {
    if (!kept.has(row)) {
      if (kept.size > 8) kept.delete(kept.keys().next().value);
      kept.set(row, weighted(image, row, columns));
    }
    return kept.get(row);
  };
  rows.forEach(({from, weights}, y) => {
    const lines = from.map(line), start = 3 * width * y;
    if (weights.length === 2) {
      const [above, below] = lines, [one, other] = weights;
      for (let x = 0; x < 3 * width; x++) {  // with the bits that OpenCV cuts off
        made.data[start + x] = ((one * (above[x] >> 4) >> 16) + (other * (below[x] >> 4) >> 16) + 2) >> 2;
      }
      return;
    }
    for (let x = 0; x < 3 * width; x++) {
      let sum = 0;
      for (let k = 0; k < lines.length; k++) sum += weights[k] * lines[k][x];
      made.data[start + x] = clip(rint(sum), 0, 255);
    }
  });
  return made;
}

function weighted(image, row, columns) {
  const line = new Float64Array(3 * columns.length), start = 3 * image.width * row;
  columns.forEach(({from, weights}, x) => {
    for (let colour = 0; colour < 3; colour++) {
      let sum = 0;
      for (let k = 0; k < from.length; k++) sum += weights[k] * image.data[start + 3 * from[k] + colour];
      line[3 * x + colour] = sum;
    }
  });
  return line;
}

function taps(size, wanted, weigh) {
  return Array.from({length: wanted}, (_, number) => {
    const {first, weights} = weigh(number, size / wanted);
    return {from: weights.map((_, k) => clip(first + k, 0, size - 1)), weights};
  });
}

function two(first, rest) {
  return {first, weights: [1 - rest, rest].map(weight => rint(Math.fround(weight) * BITS))};
}

function linearTaps(size, wanted) {
  return taps(size, wanted, (number, scale) => {
    const at = Math.fround((number + 0.5) * scale - 0.5), first = Math.floor(at);
    return two(first, at - first);
  });
}

/** What OpenCV's averaging does where it has to enlarge: pixels keep their edges. */
function areaTaps(size, wanted) {
  return taps(size, wanted, (number, scale) => {
    const first = Math.floor(number * scale), over = Math.fround(number + 1 - (first + 1) / scale);
    return two(first, over <= 0 ? 0 : over - Math.floor(over));
  });
}

function cubicTaps(size, wanted) {
  const a = -0.75;
  return taps(size, wanted, (number, scale) => {
    const at = (number + 0.5) * scale - 0.5, whole = Math.floor(at), x = at - whole, y = 1 - x;
    const before = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a;
    const one = ((a + 2) * x - (a + 3)) * x * x + 1, other = ((a + 2) * y - (a + 3)) * y * y + 1;
    return {first: whole - 1, weights: [before, one, other, 1 - before - one - other]};
  });
}
