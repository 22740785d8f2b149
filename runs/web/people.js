// Follow every face of a video, and tell people apart by ids: what videos/people.py does, with its numbers (`rules`).

import {distance, toSquare} from "./faces.js";
import {clip, picture, resize} from "./pixels.js";

const LOOK = 8;  // sides of what is kept of how a face looks, px

export class People {
  /** rules: `people` of settings.json. */
  constructor(rules) {
    this.rules = rules;
    this.people = [];
    this.last = 0;
    this.time = 0;
    this.usual = 0;
    this.thumb = null;
  }

  /** The id of each face of the next frame, from 1 on; time in seconds, later than those before. */
  follow(image, time, faces) {
    if (this.isCut(image)) this.people = [];
    const squares = faces.map(toSquare), looks = squares.map(square => look(image, square));
    this.forget(time, squares);
    const covered = squares.map((square, face) =>
      this.near(square, squares.filter((_, other) => other !== face)) || atEdge(square, image));
    const costs = this.people.map(one => squares.map((square, face) => {
      const [place, seems] = this.costs(one, square, looks[face], time);
      const sudden = one.time === this.time && (covered[face] || one.crowded || !one.whole);
      const most = sudden ? Math.min(seems, this.rules.covered) : seems;
      return place + most < this.rules.lost ? place + seems : Infinity;
    }));
    const {pairs, givenUp} = assign(costs, squares.length, this.rules.clear);
    const ids = squares.map(() => 0);
    for (const [person, face] of pairs) {
      ids[face] = this.people[person].id;
      this.update(this.people[person], squares[face], looks[face], time, !covered[face]);
    }
    this.people = this.people.filter((_, person) => !givenUp.has(person));
    ids.forEach((known, face) => {
      if (known) return;
      ids[face] = ++this.last;
      this.people.push({
        id: this.last, square: squares[face], time, look: looks[face], speed: [0, 0], crowded: false,
        whole: !covered[face], seen: 1,
      });
    });
    this.time = time;
    return ids;
  }

  /** Give up those who were not seen for too long, counting the faces that are near them now. */
  forget(time, squares) {
    const {hidden, crowded, place: spread} = this.rules;
    this.people = this.people.filter(one => {
      const place = this.expected(one, time);
      const others = this.people.filter(other => other !== one).map(other => this.expected(other, time));
      const away = squares.filter(square => this.distance(place, square) > spread * 3);
      one.crowded = this.near(place, [...others, ...away]);
      return time - one.time <= (one.crowded ? crowded : hidden);
    });
  }

  expected(one, time) {
    const ahead = Math.min(time - one.time, this.rules.hidden);
    return [one.square[0] + one.speed[0] * ahead, one.square[1] + one.speed[1] * ahead, one.square[2]];
  }

  distance(one, other) {
    return distance(one, other, this.rules.growth);
  }

  near(square, others) {
    return others.some(other =>
      Math.hypot(square[0] - other[0], square[1] - other[1]) < this.rules.near * Math.max(square[2], other[2]));
  }

  /** The squared standard deviations by which a face differs in place and in look from what is expected. */
  costs(one, square, seems, time) {
    const away = Math.min(this.distance(this.expected(one, time), square), this.distance(one.square, square));
    const spread = one.seen > 2 ? this.rules.place : 2 * this.rules.place;
    const place = away / (spread + this.rules.drift * (time - one.time));
    let sum = 0;
    seems.forEach((value, at) => { sum += (value - one.look[at]) ** 2; });
    return [place ** 2, sum / seems.length / this.rules.look ** 2];
  }

  update(one, square, seems, time, whole) {
    const learn = this.rules.learn, share = one.whole ? learn * whole : 1;
    for (const axis of [0, 1]) {
      one.speed[axis] += learn * ((square[axis] - one.square[axis]) / (time - one.time) - one.speed[axis]);
    }
    one.look = one.look.map((value, at) => value + share * (seems[at] - value));
    one.square = square;
    one.time = time;
    one.whole ||= whole;
    one.seen++;
  }

  /** Whether this frame shows another scene than the one before. */
  isCut(image) {
    const {cut, sudden, learn, thumb: [width, height]} = this.rules;
    const before = this.thumb;
    this.thumb = {of: [image.width, image.height], data: shares(resize(image, width, height, "area"))};
    if (!before) return false;
    let sum = 0;
    this.thumb.data.forEach((value, at) => { sum += Math.abs(value - before.data[at]); });
    const change = sum / before.data.length, sameSize = before.of.every((side, at) => side === this.thumb.of[at]);
    const isCut = !sameSize || change > Math.max(cut, sudden * this.usual);
    this.usual = isCut ? 0 : this.usual + learn * (change - this.usual);
    return isCut;
  }
}

function shares(image) {
  return Float64Array.from(image.data, value => value / 255);
}

/** Mean colours of 8 x 8 parts of the square of a face, 0..1. */
function look(image, square) {
  const edges = [image.width, image.height].map((length, axis) => {
    const start = Math.trunc(clip(square[axis] - square[2] / 2, 0, length - 1));
    return [start, Math.trunc(clip(square[axis] + square[2] / 2, start + 1, length))];
  });
  const [[left, right], [top, bottom]] = edges, part = picture(right - left, bottom - top);
  for (let row = top; row < bottom; row++) {
    const start = 3 * (row * image.width + left);
    part.data.set(image.data.subarray(start, start + 3 * part.width), 3 * part.width * (row - top));
  }
  return shares(resize(part, LOOK, LOOK, "area"));
}

/** Whether a face reaches over the edge of the picture, or nearly so. */
function atEdge(square, image) {
  const reach = 0.55 * square[2];
  return [image.width, image.height].some((side, axis) => square[axis] < reach || square[axis] > side - reach);
}

/** Pairs [person, face] that are certain, and the people who are given up: another face would do nearly as well. */
export function assign(costs, faceCount, clear) {
  const people = new Set(costs.keys()), faces = new Set(Array(faceCount).keys()), pairs = [];
  const all = costs.flatMap((row, person) => row.map((cost, face) => [cost, person, face]));
  for (const [cost, person, face] of all.sort((one, other) => one[0] - other[0] || 0)) {
    if (cost < Infinity && people.has(person) && faces.has(face)) {
      people.delete(person);
      faces.delete(face);
      pairs.push([person, face]);
    }
  }
  const doubtful = new Set(), givenUp = new Set();
  pairs.forEach(([person, face], number) => {
    const enough = costs[person][face] + clear;
    const rivals = [...people].filter(other => costs[other][face] < enough);
    rivals.forEach(other => givenUp.add(other));
    if (rivals.length || [...faces].some(other => costs[person][other] < enough)) doubtful.add(number);
    pairs.slice(0, number).forEach(([other, its], before) => {
      if (costs[person][its] + costs[other][face] < enough + costs[other][its]) doubtful.add(number).add(before);
    });
  });
  doubtful.forEach(number => givenUp.add(pairs[number][0]));
  return {pairs: pairs.filter((_, number) => !doubtful.has(number)), givenUp};
}
