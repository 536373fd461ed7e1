// A time series as SVG, with the limit of the permit and those of the classes of surface water; a table says the same in words.
import { both, el, said } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg", W = 320, H = 170, LEFT = 34, RIGHT = 30, TOP = 10, FOOT = 20, CLASSES = ["I", "II", "III", "IV", "V"];

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

const day = (t) => new Date(t).toISOString().slice(0, 10);
const short = (v) => String(Number(v.toPrecision(3)));

// The class that a value falls into (the smallest limit that it keeps), or "" beyond V.
export const classOfValue = (value, limits) => CLASSES[limits.findIndex((limit) => value <= limit)] ?? "";

// points: [[milliseconds, value]]; limit: of the permit, or null; quality: { limits, source, verified } or null; target: a class or "".
export function chart(points, { limit = null, quality = null, target = "", name = "", unit = "" } = {}) {
  const sorted = [...points].sort((a, b) => a[0] - b[0]), values = sorted.map((p) => p[1]);
  const t0 = sorted[0][0], t1 = Math.max(sorted.at(-1)[0], t0 + 1), top = Math.max(...values, limit ?? 0) * 1.15 || 1;
  const x = (t) => LEFT + (W - LEFT - RIGHT) * (t - t0) / (t1 - t0), y = (v) => H - FOOT - (H - FOOT - TOP) * v / top;
  const above = (v) => limit !== null && v > limit;
  const over = values.filter(above).length;
  const label = said(`${name}：${points.length} 次，${short(Math.min(...values))}–${short(Math.max(...values))} ${unit}${limit !== null ? `，超标 ${over} 次` : ""}`, `${name}: ${points.length} samples, ${short(Math.min(...values))}–${short(Math.max(...values))} ${unit}${limit !== null ? `, ${over} above the limit` : ""}`);
  const made = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": label });
  made.append(svg("text", { x: 2, y: TOP + 8 }, short(top)), svg("text", { x: 2, y: H - FOOT }, "0"));
  made.append(svg("line", { x1: LEFT, x2: W - RIGHT, y1: H - FOOT, y2: H - FOOT, stroke: "#8a949e" }));
  made.append(svg("text", { x: LEFT, y: H - 6 }, day(t0)), svg("text", { x: W - RIGHT, y: H - 6, "text-anchor": "end" }, day(sorted.at(-1)[0])));
  let free = Infinity; // class names stand apart from one another
  for (const [n, value] of (quality?.limits || []).entries()) {
    if (value > top) continue;
    const wanted = CLASSES[n] === target;
    made.append(svg("line", { class: "class-limit", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value), stroke: "#3f7f5f", "stroke-width": wanted ? 1.6 : 0.7, "stroke-dasharray": wanted ? "none" : "2 3" }));
    if (free - y(value) > 9 || wanted) { made.append(svg("text", { x: W - RIGHT + 4, y: y(value) + 3, "font-weight": wanted ? 700 : 400 }, CLASSES[n])); free = y(value); }
  }
  if (limit !== null) made.append(svg("line", { x1: LEFT, x2: W - RIGHT, y1: y(limit), y2: y(limit), stroke: "#b33c00", "stroke-width": 1.4, "stroke-dasharray": "6 3" }), svg("text", { x: LEFT + 4, y: y(limit) - 3, class: "limit" }, `${said("排放限值", "permit limit")} ${short(limit)}`));
  made.append(svg("polyline", { points: sorted.map((p) => `${x(p[0])},${y(p[1])}`).join(" "), fill: "none", stroke: "#0072b2", "stroke-width": 1.2 }));
  for (const [t, v] of sorted) {
    made.append(above(v) ? svg("path", { class: "above", d: `M${x(t)} ${y(v) - 5} l4.5 8 h-9 Z`, fill: "#b33c00" }) : svg("circle", { cx: x(t), cy: y(v), r: 2.8, fill: "#0072b2" }));
  }
  const rows = [...sorted].reverse().map(([t, v]) => el("tr", {}, el("td", {}, day(t)), el("td", {}, `${short(v)} ${unit}`), el("td", {}, [quality ? classOfValue(v, quality.limits) || said("劣 V", "beyond V") : "", above(v) ? said("超标", "above the limit") : ""].filter(Boolean).join(" · "))));
  return el("figure", {}, made,
    quality ? el("figcaption", { class: "note" }, both(`虚线：地表水 I–V 类限值，${quality.source}${quality.verified ? "" : "（未与标准原文核对）"}；非排放限值`, `Dashed: classes I–V of surface water, ${quality.source}${quality.verified ? "" : " (not checked against the printed standard)"}; not limits of the discharge`)) : null,
    el("details", {}, el("summary", {}, both("数值", "Values")), el("table", { class: "facts" }, rows)));
}
