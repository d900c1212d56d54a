// Learning curves, and small ones within a line of text.

import { color, dot, line, prepared, write } from "./drawing.mjs";
import { count } from "./elements.mjs";

const MARGIN = { left: 40, right: 14, top: 12, bottom: 24 };

// Where env steps and returns are on a canvas of that size.
function scalesOf(curves, width, height) {
  const largest = (values) => Math.max(1e-9, ...values.filter(Number.isFinite));
  const maxX = largest(curves.flatMap(({ x }) => x));
  const maxY = largest(curves.flatMap(({ y, high }) => [...y, ...(high ?? [])]));
  const minY = Math.min(0, ...curves.flatMap(({ y }) => y));
  const [inner, tall] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  return {
    maxX, maxY, minY,
    toX: (x) => MARGIN.left + (x / maxX) * inner,
    toY: (y) => MARGIN.top + (1 - (y - minY) / (maxY - minY)) * tall,
    stepsAt: (pixels) => Math.max(0, Math.min(maxX, ((pixels - MARGIN.left) / inner) * maxX)),
  };
}

// Curves { x, y, low, high, stroke }, the frames of a history as dots, and the moment shown; how to read a click.
export function drawCurves(canvas, curves, frames, moment) {
  const { context, width, height } = prepared(canvas);
  const scales = scalesOf(curves, width, height);
  const { toX, toY, maxX, maxY, minY } = scales;
  for (const share of [0, 0.5, 1]) {
    const value = minY + share * (maxY - minY);
    line(context, [[MARGIN.left, toY(value)], [width - MARGIN.right, toY(value)]], color("--line"));
    write(context, count(value), MARGIN.left - 7, toY(value) + 4, { align: "right" });
  }
  write(context, "0", MARGIN.left, height - 7);
  write(context, `${count(maxX)} env steps`, width - MARGIN.right, height - 7, { align: "right" });
  for (const curve of curves) drawCurve(context, curve, toX, toY);
  const named = curves.filter(({ name }) => name);
  named.forEach(({ name }, place) => {
    const row = height - MARGIN.bottom - 10 - 16 * (named.length - 1 - place);
    write(context, name, width - MARGIN.right - 4, row, { align: "right", fill: "--text" });
  });
  for (const frame of frames) {
    if (frame.mean_return !== null) dot(context, toX(frame.env_steps), toY(frame.mean_return), 2.5, color("--text"));
  }
  if (moment) {
    const x = toX(moment.x);
    line(context, [[x, MARGIN.top], [x, height - MARGIN.bottom]], color("--text"), 1.5);
    if (moment.y !== null) dot(context, x, toY(moment.y), 5.5, color("--text"));
    if (moment.y !== null) dot(context, x, toY(moment.y), 3, color("--card"));
  }
  return scales.stepsAt;
}

function drawCurve(context, { x, y, low, high, stroke }, toX, toY) {
  const points = (values) => values.map((value, place) => [toX(x[place]), toY(value)]);
  if (low && high) {
    context.beginPath();
    for (const [a, b] of [...points(high), ...points(low).reverse()]) context.lineTo(a, b);
    context.fillStyle = stroke;
    context.globalAlpha = 0.18;
    context.fill();
    context.globalAlpha = 1;
  }
  line(context, points(y), stroke, 2);
}

export function drawSpark(canvas, values, stroke) {
  const { context, width, height } = prepared(canvas);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const toX = (place) => 3 + (place / Math.max(1, values.length - 1)) * (width - 6);
  const toY = (value) => (most > least ? height - 4 - ((value - least) / (most - least)) * (height - 8) : height / 2);
  const points = values.map((value, place) => [toX(place), toY(value)]);
  line(context, points, stroke, 1.5);
  dot(context, ...points[points.length - 1], 2.5, stroke);
}
