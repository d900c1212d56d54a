// A picture of a function of theta and theta_dot, computed a little at a time: coarse first, then finer.

import { color, dot, line, prepared, write } from "./drawing.mjs";
import { lean } from "./physics.mjs";

const SIZE = 64; // cells along each axis
const COARSEST = 8;
const MARGIN = { left: 38, right: 10, top: 8, bottom: 30 };

export class FieldMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.cells = document.createElement("canvas");
    this.cells.width = this.cells.height = SIZE;
    this.values = new Float64Array(SIZE * SIZE);
    this.todo = null;
  }

  // Begin anew: `valueAt` of a state, `colorOf` a value within [low, high] of all values; x and x_dot are fixed.
  show({ valueAt, colorOf, x, xDot, maxAngle, maxVelocity }) {
    Object.assign(this, { valueAt, colorOf, x, xDot, maxAngle, maxVelocity });
    this.todo = this.work();
  }

  *work() {
    for (let stride = COARSEST; stride >= 1; stride /= 2) {
      for (let row = 0; row < SIZE; row += stride) {
        for (let column = 0; column < SIZE; column += stride) {
          const isKnown = stride < COARSEST && row % (2 * stride) === 0 && column % (2 * stride) === 0;
          if (!isKnown) this.fill(row, column, stride);
          yield;
        }
      }
      this.paint();
    }
  }

  fill(row, column, stride) {
    const theta = (((column + 0.5) / SIZE) * 2 - 1) * this.maxAngle;
    const thetaDot = (1 - ((row + 0.5) / SIZE) * 2) * this.maxVelocity;
    const value = this.valueAt([this.x, this.xDot, theta, thetaDot]);
    for (let down = 0; down < stride; down++) {
      const start = (row + down) * SIZE + column;
      this.values.fill(value, start, start + stride);
    }
  }

  paint() {
    const context = this.cells.getContext("2d");
    const image = context.createImageData(SIZE, SIZE);
    let [low, high] = [Infinity, -Infinity];
    for (const value of this.values) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    this.range = [low, high];
    this.values.forEach((value, place) => image.data.set([...this.colorOf(value, low, high), 255], 4 * place));
    context.putImageData(image, 0, 0);
  }

  // Compute until a time of performance.now().
  refine(until) {
    for (let count = 1; this.todo; count++) {
      if (this.todo.next().done) this.todo = null;
      else if (count % 8 === 0 && performance.now() > until) return;
    }
  }

  // The state under a pointer, or null beside the map.
  stateAt(event) {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const across = (event.offsetX - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    const down = (event.offsetY - MARGIN.top) / (height - MARGIN.top - MARGIN.bottom);
    if (across < 0 || across > 1 || down < 0 || down > 1) return null;
    return [this.x, this.xDot, (2 * across - 1) * this.maxAngle, (1 - 2 * down) * this.maxVelocity];
  }

  draw(trail, stroke) {
    const { context, width, height } = prepared(this.canvas);
    const [inner, tall] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
    context.imageSmoothingEnabled = !this.todo;
    context.drawImage(this.cells, MARGIN.left, MARGIN.top, inner, tall);
    const toX = (theta) => MARGIN.left + ((theta / this.maxAngle + 1) / 2) * inner;
    const toY = (thetaDot) => MARGIN.top + ((1 - thetaDot / this.maxVelocity) / 2) * tall;
    this.drawAxes(context, toX, toY, width, height);
    this.drawTrail(context, trail, stroke, toX, toY, inner, tall);
  }

  drawAxes(context, toX, toY, width, height) {
    const degrees = Math.round((this.maxAngle * 180) / Math.PI);
    for (const share of [-1, 0, 1]) {
      const sign = share < 0 ? "\u2212" : "";
      const align = { "-1": "left", 0: "center", 1: "right" }[share];
      write(context, `${sign}${Math.abs(share * degrees)}\u00b0`, toX(share * this.maxAngle), height - 15, { align });
      const y = toY(share * this.maxVelocity) + 4 - 3 * share;
      write(context, `${sign}${Math.abs(share * this.maxVelocity)}`, MARGIN.left - 6, y, { align: "right" });
    }
    write(context, "pole's angle \u03b8", (MARGIN.left + width) / 2, height - 2);
    context.save();
    context.translate(10, MARGIN.top + (height - MARGIN.bottom) / 4 + 6);
    context.rotate(-Math.PI / 2);
    write(context, "rad/s", 0, 0);
    context.restore();
  }

  drawTrail(context, trail, stroke, toX, toY, inner, tall) {
    if (!trail.length) return;
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, MARGIN.top, inner, tall);
    context.clip();
    const points = trail.map(([, , theta, thetaDot]) => [toX(lean(theta)), toY(thetaDot)]);
    for (let place = 1; place < points.length; place++) {
      if (Math.abs(points[place][0] - points[place - 1][0]) > inner / 2) continue; // around the back
      context.globalAlpha = place / points.length;
      line(context, [points[place - 1], points[place]], "#fff", 3.5);
      line(context, [points[place - 1], points[place]], stroke, 2);
    }
    context.globalAlpha = 1;
    const [x, y] = points[points.length - 1];
    dot(context, x, y, 7, "#fff");
    dot(context, x, y, 5, stroke);
    context.restore();
  }
}

const mix = (from, to, share) => from.map((value, place) => Math.round(value + (to[place] - value) * share));
const rgb = (name) => color(name).match(/\w\w/g).map((pair) => parseInt(pair, 16));

// From a push to the left over the middle to one to the right; `share` from -1 to 1.
export function diverging(share) {
  const end = rgb(share < 0 ? "--left" : "--right");
  return mix(rgb("--middle"), end, Math.min(1, Math.abs(share)));
}

const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis

export function sequential(share) {
  const place = Math.max(0, Math.min(STOPS.length - 1.001, share * (STOPS.length - 1)));
  return mix(STOPS[Math.floor(place)], STOPS[Math.floor(place) + 1], place % 1);
}
