// Calls functions of the page's scripts, for tests/runs/test_page.py: cases as JSON come in, answers go out.
import {readFileSync} from "node:fs";
import {pathToFileURL} from "node:url";

const [folder] = process.argv.slice(2), of = name => import(pathToFileURL(`${folder}/${name}`).href);
const [pixels, faces, people, table, convert] = await Promise.all(
  ["pixels.js", "faces.js", "people.js", "table.js", "convert.js"].map(of));

const bytes = text => new Uint8Array(Buffer.from(text, "base64")), text = data => Buffer.from(data).toString("base64");
const floats = text => new Float32Array(bytes(text).buffer);
const picture = ({width, height, data}) => pixels.picture(width, height, bytes(data));
const given = ({width, height, data}) => ({width, height, data: text(data)});

const calls = {
  resize: ({image, width, height, how}) => given(pixels.resize(picture(image), width, height, how)),
  cut: ({image, square, settings}) => given(faces.cut(picture(image), square, settings)),
  input({image, longest, step}) {
    const {data, dims, scale} = faces.detectorInput(picture(image), longest, step);
    return {data: text(new Uint8Array(data.buffer)), dims, scale};
  },
  crop({image, preprocessing}) {
    const data = new Uint8Array(3 * preprocessing.image_size ** 2);
    faces.putInput(picture(image), preprocessing, data, 0);
    return text(data);
  },
  decode: ({heat, size, shift, columns, confidence, detector}) =>
    faces.decode(floats(heat), floats(size), floats(shift), columns, confidence, detector),
  steady: ({squares, smoothing}) => squares.map((square, at) => {
    const others = squares.map((other, to) => [to - at, other]);
    return square && faces.steady(square, others.filter(([offset, other]) =>
      other && Math.abs(offset) <= faces.reach(smoothing)), smoothing);
  }),
  follow({frames, rules}) {
    const followed = new people.People(rules);
    return frames.map(({image, time, faces: boxes}) => followed.follow(picture(image), time, boxes));
  },
  numbers: ({times, tolerance}) => table.frameNumbers(times, tolerance),
  csv: ({pictures, model}) => table.toCsv(pictures, model),
  planes: ({width, height, data, at, bt709, fullRange}) =>
    given(convert.fromPlanes(width, height, bytes(data), at, bt709, fullRange)),
};

const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(({call, ...rest}) => calls[call](rest))));
