// One lane's picture: rail, cart, pole, the force on the cart, and a visitor's push.

import { arrow, color, dot, laneColor, line, prepared, write } from "./drawing.mjs";
import { RAIL } from "./physics.mjs";

const PUSH_SHOWN = 450; // ms
const LIMIT = 2.4; // m, where Gymnasium ends an episode

// Where things are on a canvas: pixels of meters, and back.
export function viewOf(lane, world, width, height) {
  const reach = Math.max(0.75, world.poleLength) * 1.12;
  const scale = Math.min(width / 5.6, (height * 0.52) / reach);
  const half = width / 2 / scale;
  const [x] = lane.state;
  const slack = half - 0.9;
  lane.camera = Math.max(x - slack, Math.min(x + slack, lane.camera ?? 0));
  if (slack >= LIMIT) lane.camera = Math.max(Math.min(0, x + slack), x - slack);
  const toX = (meters) => width / 2 + (meters - lane.camera) * scale;
  return { scale, half, toX, axleY: height * 0.575 };
}

export function drawScene(canvas, place, lane, app, drag) {
  const { context, width, height } = prepared(canvas);
  const view = viewOf(lane, app.world, width, height);
  const [x, , theta] = lane.state;
  const cart = { x: view.toX(x), y: view.axleY, width: cartWidth(app.world, view), height: 0.17 * view.scale + 8 };
  drawRail(context, view, lane, width, cart);
  drawTrail(context, view, lane, app.world, laneColor(place));
  drawCart(context, cart, x, view.scale);
  const length = app.world.poleLength * view.scale;
  const tip = [cart.x + length * Math.sin(theta), cart.y - length * Math.cos(theta)];
  line(context, [[cart.x, cart.y], tip], laneColor(place), Math.max(6, 0.085 * view.scale));
  dot(context, cart.x, cart.y, Math.max(3, 0.035 * view.scale), color("--card"));
  drawForce(context, cart, lane.force, view.scale);
  drawPush(context, tip, app, drag);
  if (app.clock.isHidden(app.world.hitch)) write(context, "hitch: the last force is held", width / 2, 18, { weight: 600 });
}

function cartWidth(world, view) {
  return (0.36 + 0.1 * Math.cbrt(world.cartMass)) * view.scale + 10;
}

function drawRail(context, view, lane, width, cart) {
  const y = cart.y + cart.height * 0.5 + 11;
  context.fillStyle = color("--ground");
  context.fillRect(0, y, width, 400);
  const [left, right] = [-RAIL, RAIL].map(view.toX);
  line(context, [[Math.max(0, left), y], [Math.min(width, right), y]], color("--dim"), 2);
  const first = Math.ceil(lane.camera - view.half);
  for (let meter = first; meter <= lane.camera + view.half; meter++) {
    line(context, [[view.toX(meter), y], [view.toX(meter), y + 6]], color("--dim"), 1);
    write(context, `${meter > 0 ? "+" : ""}${meter}${meter === 0 ? " m" : ""}`.replace("-", "\u2212"), view.toX(meter), y + 20);
  }
  for (const limit of [-LIMIT, LIMIT]) {
    context.setLineDash([3, 4]);
    line(context, [[view.toX(limit), y], [view.toX(limit), y - 26]], color("--dim"), 1.5);
    context.setLineDash([]);
  }
}

// The pole's tip a moment ago, fading.
function drawTrail(context, view, lane, world, stroke) {
  const tips = lane.trail.slice(-28).map(([x, , theta]) => [
    view.toX(x + world.poleLength * Math.sin(theta)),
    view.axleY - world.poleLength * Math.cos(theta) * view.scale,
  ]);
  for (let place = 1; place < tips.length; place++) {
    context.globalAlpha = 0.4 * (place / tips.length) ** 2;
    line(context, [tips[place - 1], tips[place]], stroke, 3);
  }
  context.globalAlpha = 1;
}

function drawCart(context, cart, x, scale) {
  const wheel = 0.055 * scale + 3;
  context.fillStyle = color("--text");
  context.beginPath();
  context.roundRect(cart.x - cart.width / 2, cart.y - cart.height * 0.42, cart.width, cart.height * 0.84, 5);
  context.fill();
  for (const side of [-1, 1]) {
    const center = [cart.x + side * cart.width * 0.3, cart.y + cart.height * 0.5 + 10 - wheel];
    dot(context, ...center, wheel, color("--dim"));
    const angle = (x * scale) / wheel;
    const spoke = [center[0] + (wheel - 2) * Math.cos(angle), center[1] + (wheel - 2) * Math.sin(angle)];
    line(context, [center, spoke], color("--card"), 1.5);
  }
}

function drawForce(context, cart, force, scale) {
  if (Math.abs(force) < 0.05) return;
  const side = Math.sign(force);
  const from = cart.x + side * (cart.width / 2 + 5);
  const length = 9 + (Math.abs(force) / 10) * 0.5 * scale;
  arrow(context, [from, cart.y], [from + side * length, cart.y], color(force < 0 ? "--left" : "--right"), 4);
}

// The push under a finger, or the last one for a moment.
function drawPush(context, tip, app, drag) {
  const age = performance.now() - app.lastPush.time;
  const strength = drag ? drag.strength : age < PUSH_SHOWN ? app.lastPush.strength : 0;
  if (!strength) return;
  context.globalAlpha = drag ? 1 : Math.min(1, 1 - age / PUSH_SHOWN);
  const y = tip[1];
  const reach = 14 + 26 * Math.abs(strength);
  const side = Math.sign(strength);
  const from = drag ? tip[0] : tip[0] - side * (reach + 8);
  arrow(context, [from, y], [from + side * reach, y], color("--text"), 5);
  write(context, `push ${Math.abs(strength).toFixed(1)}`, from + (side * reach) / 2, y - 12, { size: 12, fill: "--text", weight: 600 });
  context.globalAlpha = 1;
}
