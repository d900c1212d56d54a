// Canvases that are sharp on every screen, and the page's colors on them.

export const LANE_COLORS = ["--lane-1", "--lane-2", "--lane-3", "--lane-4"];

let palette = {};

// The colors of style.css, read once for each theme.
export function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["--text", "--dim", "--line", "--card", "--left", "--right", "--middle", "--ground", ...LANE_COLORS];
  palette = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name).trim()]));
}

export const color = (name) => palette[name];
export const laneColor = (place) => palette[LANE_COLORS[place % LANE_COLORS.length]];

const sizes = new WeakMap();
const watcher = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) sizes.set(target, [contentRect.width, contentRect.height]);
});

// A canvas's context with the origin at its corner, in CSS pixels, and its size; cleared.
export function prepared(canvas) {
  if (!sizes.has(canvas)) {
    sizes.set(canvas, [canvas.clientWidth, canvas.clientHeight]);
    watcher.observe(canvas);
  }
  const [width, height] = sizes.get(canvas);
  const ratio = Math.min(2, devicePixelRatio || 1);
  const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.lineCap = context.lineJoin = "round";
  return { context, width, height };
}

export function write(context, text, x, y, { size = 11, align = "center", fill = "--dim", weight = 500 } = {}) {
  context.font = `${weight} ${size}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
  context.textAlign = align;
  context.fillStyle = color(fill) ?? fill;
  context.fillText(text, x, y);
}

export function line(context, points, stroke, width = 1) {
  context.beginPath();
  points.forEach(([x, y], place) => (place ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.strokeStyle = stroke;
  context.lineWidth = width;
  context.stroke();
}

export function dot(context, x, y, radius, fill) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = fill;
  context.fill();
}

// A horizontal or any arrow whose head does not grow with it.
export function arrow(context, [fromX, fromY], [toX, toY], stroke, width = 3) {
  const length = Math.hypot(toX - fromX, toY - fromY);
  if (length < 2) return;
  const [alongX, alongY] = [(toX - fromX) / length, (toY - fromY) / length];
  const head = Math.min(9, length);
  const [baseX, baseY] = [toX - head * alongX, toY - head * alongY];
  line(context, [[fromX, fromY], [baseX, baseY]], stroke, width);
  context.beginPath();
  context.moveTo(toX, toY);
  context.lineTo(baseX - 0.6 * head * alongY, baseY + 0.6 * head * alongX);
  context.lineTo(baseX + 0.6 * head * alongY, baseY - 0.6 * head * alongX);
  context.closePath();
  context.fillStyle = stroke;
  context.fill();
}
