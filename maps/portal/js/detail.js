// One feature: where it is, its attributes, and what hangs on it.
import { both, byId, el, said } from "./dom.js";
import { feature } from "./server.js";
import { catalogue, nameOf, shown, title } from "./catalogue.js";
import { flyTo, highlight, idsOf, map } from "./map.js";
import { isOn } from "./layers.js";
import { keepState, state } from "./state.js";
import { outfallParts } from "./outfall.js";
import { readOutfalls, rowOf } from "./outfalls.js";
import { riverOf } from "./river.js";
import { statesAt } from "./states.js";
import { findingParts } from "./waiver.js";

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

// What is known of a feature without the server: outfalls are kept on the device.
async function offlineFeature(name, id, error) {
  const row = name === "outfall" && (error.status === 0 || error.status >= 500) ? await rowOf(id) : null;
  if (!row) throw error;
  return { geometry: { type: "Point", coordinates: [row.lon, row.lat] }, properties: row };
}

export async function openFeature(name, id, { fly = false } = {}) {
  const layer = catalogue.layers.get(name);
  if (!layer) return;
  const found = await feature(name, id).catch((error) => offlineFeature(name, id, error));
  state.picked = `${name}/${id}`;
  keepState();
  highlight(found.geometry);
  if (fly) flyTo(found.geometry, { maxZoom: name === "rule_finding" ? 15 : 17 }); // a finding is between two things that may lie apart
  const facts = factsOf(layer, found.properties), hung = el("div", { class: "hung" });
  const long = name === "outfall" || name === "rule_finding";
  frame(both(layer.zh, layer.en), nameOf(layer, found.properties, id), hung, long ? el("details", {}, el("summary", {}, both("全部属性", "All attributes")), facts) : facts);
  if (fly && matchMedia("(max-width: 760px)").matches && !document.body.classList.contains("folded")) byId("fold").click();
  document.dispatchEvent(new CustomEvent("baige:picked", { detail: { name, id } }));
  const parts = name === "outfall" ? outfallParts(id, { ...found.properties, at: found.geometry.coordinates }) : name === "rule_finding" ? [findingParts(id, found.properties)] : name === "water_intake" ? [riverOf(name, id)] : [];
  for (const part of parts) {
    const place = el("div", { class: "part" });
    hung.append(place);
    part.then((made) => { if (made && state.picked === `${name}/${id}`) place.replaceChildren(made); });
  }
}

// What lies under a click, nearest to the eye first; one hit opens at once.
export function identify(point) {
  const layers = [...catalogue.layers.values()].filter((layer) => layer.drawn && isOn(layer.name));
  const ids = layers.flatMap((layer) => idsOf(layer).filter((id) => !id.endsWith("-label") && !id.endsWith("-numbers")));
  const around = [[point.x - 5, point.y - 5], [point.x + 5, point.y + 5]];
  const hits = new Map(statesAt(around).map((hit) => [`outfall/${hit.id}`, hit]));
  if (!hits.size) for (const hit of (ids.length ? map.queryRenderedFeatures(around, { layers: ids }) : [])) {
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

// A record that has arrived belongs into the history that is on the screen.
document.addEventListener("baige:recorded", async ({ detail }) => {
  if (state.picked !== `outfall/${detail.outfall}`) return;
  await readOutfalls().catch(() => {});
  openFeature("outfall", detail.outfall).catch(() => {});
});
