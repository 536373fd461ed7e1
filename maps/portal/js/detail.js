// One feature: where it is, its attributes, and what hangs on it (samples and inspections of an outfall, cameras that see it).
import { both, byId, el, said } from "./dom.js";
import { feature, items, quoted } from "./server.js";
import { catalogue, nameOf, shown, title } from "./catalogue.js";
import { flyTo, highlight, idsOf, map } from "./map.js";
import { isOn } from "./layers.js";
import { keepState, state } from "./state.js";

const MAX_HITS = 12;

export function closeDetail() {
  byId("detail").hidden = true;
  highlight(null);
  state.picked = "";
  keepState();
}

function frame(kicker, heading, ...rest) {
  const box = byId("detail");
  box.replaceChildren(
    el("header", {}, el("div", {}, el("p", { class: "kicker" }, kicker), el("h2", {}, heading)),
      el("button", { type: "button", "aria-label": said("关闭", "Close"), onclick: closeDetail }, "×")),
    ...rest);
  box.hidden = false;
}

export function factsOf(layer, properties) {
  const table = el("table", { class: "facts" });
  for (const field of layer.fields) {
    const value = shown(field, properties[field.name]);
    if (!field.listed || value === "") continue;
    table.append(el("tr", {}, el("th", { scope: "row" }, both(field.zh, field.en)), el("td", {}, value)));
  }
  return table;
}

async function samples(id) {
  const layer = catalogue.layers.get("outfall_sample");
  if (!layer) return null;
  const page = await items("outfall_sample", { filter: `outfall_id = ${quoted(id)}`, sortby: "-sampled_at", limit: 400 });
  if (!page.features.length) return null;
  const groups = Map.groupBy ? Map.groupBy(page.features, (f) => f.properties.pollutant) : page.features.reduce((m, f) => m.set(f.properties.pollutant, [...(m.get(f.properties.pollutant) || []), f]), new Map());
  const parts = [...groups].map(([pollutant, features]) => {
    const name = shown(layer.field.get("pollutant"), pollutant), unit = features[0].properties.unit || "";
    return el("div", {}, el("h3", {}, `${name}${unit ? ` (${unit})` : ""}`), chart(features.map((f) => [Date.parse(f.properties.sampled_at), f.properties.value]), features[0].properties.limit_value));
  });
  return el("div", {}, el("h3", {}, both("水质监测", "Samples")), ...parts.slice(0, 4));
}

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

export function chart(points, limit) {
  const w = 300, h = 90, times = points.map((p) => p[0]), values = points.map((p) => p[1]);
  const t0 = Math.min(...times), t1 = Math.max(...times, t0 + 1), top = Math.max(...values, limit || 0) * 1.15 || 1;
  const x = (t) => 30 + (w - 40) * (t - t0) / (t1 - t0), y = (v) => h - 16 - (h - 26) * v / top;
  const made = svg("svg", { viewBox: `0 0 ${w} ${h}`, class: "chart", role: "img", "aria-label": `${points.length}: ${Math.min(...values)}–${Math.max(...values)}` });
  made.append(svg("text", { x: 2, y: 12 }, top.toPrecision(2)), svg("text", { x: 2, y: h - 16 }, "0"));
  made.append(svg("text", { x: 30, y: h - 3 }, new Date(t0).toISOString().slice(0, 10)), svg("text", { x: w - 10, y: h - 3, "text-anchor": "end" }, new Date(t1).toISOString().slice(0, 10)));
  if (limit) made.append(svg("line", { x1: 30, x2: w - 10, y1: y(limit), y2: y(limit), stroke: "#d55e00", "stroke-dasharray": "4 3" }), svg("text", { x: w - 10, y: y(limit) - 3, "text-anchor": "end" }, `${said("限值", "limit")} ${limit}`));
  const sorted = [...points].sort((a, b) => a[0] - b[0]);
  made.append(svg("polyline", { points: sorted.map((p) => `${x(p[0])},${y(p[1])}`).join(" "), fill: "none", stroke: "#0072b2" }));
  for (const [t, v] of sorted) made.append(svg("circle", { cx: x(t), cy: y(v), r: 2.6, fill: limit && v > limit ? "#d55e00" : "#0072b2" }));
  return made;
}

async function inspections(id) {
  const layer = catalogue.layers.get("outfall_inspection");
  if (!layer) return null;
  const page = await items("outfall_inspection", { filter: `outfall_id = ${quoted(id)}`, sortby: "-inspected_at", limit: 8 });
  if (!page.features.length) return null;
  const rows = page.features.map(({ properties: p }) => el("tr", {}, el("th", { scope: "row" }, shown(layer.field.get("inspected_at"), p.inspected_at)), el("td", {}, [shown(layer.field.get("discharging"), p.discharging), p.colour, p.note].filter(Boolean).join("；"))));
  return el("div", {}, el("h3", {}, both("巡查记录", "Inspections")), el("table", { class: "facts" }, rows));
}

async function watchers(id) {
  if (!catalogue.layers.has("outfall_watch")) return null;
  const page = await items("outfall_watch", { filter: `outfall_id = ${quoted(id)}`, limit: 1, skipGeometry: true });
  if (!page.features.length) return null;
  return el("div", {}, el("h3", {}, both("值守", "Watch")), factsOf(catalogue.layers.get("outfall_watch"), page.features[0].properties));
}

export async function openFeature(name, id, { fly = false } = {}) {
  const layer = catalogue.layers.get(name);
  if (!layer) return;
  const found = await feature(name, id);
  state.picked = `${name}/${id}`;
  keepState();
  highlight(found.geometry);
  if (fly) flyTo(found.geometry);
  frame(both(layer.zh, layer.en), nameOf(layer, found.properties, id), factsOf(layer, found.properties));
  document.dispatchEvent(new CustomEvent("baige:picked", { detail: { name, id } }));
  if (name === "outfall") {
    const parts = await Promise.all([watchers(id), inspections(id), samples(id)]);
    if (state.picked === `${name}/${id}`) byId("detail").append(...parts.filter(Boolean));
  }
}

// What lies under a click, nearest to the eye first; one hit opens at once.
export function identify(point) {
  const layers = [...catalogue.layers.values()].filter((layer) => layer.drawn && isOn(layer.name));
  const ids = layers.flatMap((layer) => idsOf(layer).filter((id) => !id.endsWith("-label") && !id.endsWith("-numbers")));
  if (!ids.length) return;
  const around = [[point.x - 5, point.y - 5], [point.x + 5, point.y + 5]];
  const hits = new Map();
  for (const hit of map.queryRenderedFeatures(around, { layers: ids })) {
    const properties = hit.properties;
    if (properties.merged && properties.n > 1) {
      map.easeTo({ center: hit.geometry.type === "Point" ? hit.geometry.coordinates : map.unproject(point), zoom: Math.min(map.getZoom() + 2, 16) });
      return;
    }
    if (properties.id) hits.set(`${hit.source}/${properties.id}`, { name: hit.source, id: properties.id, properties });
  }
  const found = [...hits.values()];
  const own = found.filter((hit) => catalogue.layers.get(hit.name).kind !== "base");
  const chosen = (own.length ? own : found).slice(0, MAX_HITS);
  if (!chosen.length) { closeDetail(); return; }
  if (chosen.length === 1) { openFeature(chosen[0].name, chosen[0].id); return; }
  const list = el("ul", { class: "plain" }, chosen.map((hit) => {
    const layer = catalogue.layers.get(hit.name);
    return el("li", {}, el("button", { type: "button", onclick: () => openFeature(hit.name, hit.id) }, el("span", {}, ""), el("span", {}, nameOf(layer, hit.properties, hit.id)), el("small", {}, title(layer))));
  }));
  frame(both("此处的要素", "Features here"), String(chosen.length), list);
}
