// The three looks of an outfall's state: they differ in shape and filling, not in colour alone. One drawing serves map, list and legend.
import { both, el, said } from "./dom.js";
import { map } from "./map.js";

const SVG = "http://www.w3.org/2000/svg", SIZE = 20, SOURCE = "outfall-states";
export const STATES = [
  { value: 1, zh: "排放", en: "Discharging", color: "#b33c00", fill: true, path: "M10 2 C13 7 16 10 16 13 A6 6 0 0 1 4 13 C4 10 7 7 10 2 Z" },
  { value: 0, zh: "未排放", en: "Not discharging", color: "#005a8f", fill: false, path: "M10 3 A7 7 0 1 1 9.99 3 Z M5.6 10 H14.4" },
  { value: -1, zh: "未知", en: "Unknown", color: "#59626c", fill: false, dash: [2.4, 2], path: "M3 3 H17 V17 H3 Z", mark: "?" },
];
export const BASIS = {
  monitor: ["在线监测", "online monitor"], inspection: ["巡查", "inspection"], offline: ["监测设备离线", "the monitor is offline"],
  stale: ["资料已过期", "the last observation is too old"], none: ["无巡查或监测", "no inspection or monitor"],
};
export const stateOf = (value) => STATES.find((s) => s.value === value) || STATES[2];

export function stateIcon(value) {
  const look = stateOf(value), made = document.createElementNS(SVG, "svg"), shape = document.createElementNS(SVG, "path");
  for (const [name, given] of Object.entries({ viewBox: `0 0 ${SIZE} ${SIZE}`, width: 18, height: 18, class: "state", role: "img", "aria-label": said(look.zh, look.en), "data-state": value })) made.setAttribute(name, given);
  for (const [name, given] of Object.entries({ d: look.path, fill: look.fill ? look.color : "#ffffff", stroke: look.color, "stroke-width": 2, "stroke-dasharray": look.dash?.join(" ") || "none" })) shape.setAttribute(name, given);
  made.append(shape);
  if (look.mark) {
    const text = document.createElementNS(SVG, "text");
    for (const [name, given] of Object.entries({ x: 10, y: 14, "text-anchor": "middle", "font-size": 11, "font-weight": 700, fill: look.color })) text.setAttribute(name, given);
    text.textContent = look.mark;
    made.append(text);
  }
  return made;
}

function image(look) {
  const ratio = 2, canvas = el("canvas", { width: SIZE * ratio, height: SIZE * ratio }), pen = canvas.getContext("2d"), shape = new Path2D(look.path);
  pen.scale(ratio, ratio);
  pen.fillStyle = look.fill ? look.color : "#ffffff";
  pen.fill(shape);
  pen.lineWidth = 4; pen.strokeStyle = "#ffffff"; pen.stroke(shape);
  pen.setLineDash(look.dash || []); pen.lineWidth = 2; pen.strokeStyle = look.color; pen.stroke(shape);
  if (look.mark) { pen.font = "700 11px sans-serif"; pen.textAlign = "center"; pen.fillStyle = look.color; pen.fillText(look.mark, 10, 14); }
  return pen.getImageData(0, 0, canvas.width, canvas.height);
}

// Outfalls on the map by state, above all else; null takes them away. An overdue inspection is a dark ring around.
export function drawStates(features) {
  if (!map) return;
  if (!map.getSource(SOURCE)) {
    if (!features) return;
    for (const look of STATES) map.addImage(`state-${look.value}`, image(look), { pixelRatio: 2 });
    map.addSource(SOURCE, { type: "geojson", data: { type: "FeatureCollection", features: [] } });
    map.addLayer({ id: `${SOURCE}-overdue`, type: "circle", source: SOURCE, filter: [">", ["get", "days_overdue"], 0], paint: { "circle-radius": 13, "circle-color": "#ffffff", "circle-opacity": 0.5, "circle-stroke-color": "#7a0019", "circle-stroke-width": 2 } }, "picked-fill");
    map.addLayer({ id: SOURCE, type: "symbol", source: SOURCE, layout: { "icon-image": ["concat", "state-", ["to-string", ["get", "state"]]], "icon-allow-overlap": true, "icon-ignore-placement": true } }, "picked-fill");
  }
  map.getSource(SOURCE).setData({ type: "FeatureCollection", features: features || [] });
}

// Outfalls of the state layer around a point of the screen.
export function statesAt(around) {
  if (!map.getLayer(SOURCE)) return [];
  return map.queryRenderedFeatures(around, { layers: [SOURCE] }).map((hit) => ({ name: "outfall", id: hit.properties.id, properties: hit.properties }));
}

export function stateLine(row) {
  const look = stateOf(row.state), basis = BASIS[row.state_basis] || BASIS.none;
  const at = row.state_at ? String(row.state_at).slice(0, 10) : "";
  return el("p", { class: "state-line" }, stateIcon(row.state), " ", el("b", {}, both(look.zh, look.en)), " ", el("small", {}, both(`依据：${basis[0]}${at ? `（${at}）` : ""}`, `from: ${basis[1]}${at ? ` (${at})` : ""}`)));
}
