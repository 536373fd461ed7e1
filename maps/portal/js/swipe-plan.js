// A scenario on one side of the swipe: its cameras instead of those that it changes, and what they see.
import { said, tell } from "./dom.js";
import { askJSON, items, quoted } from "./server.js";
import { catalogue } from "./catalogue.js";
import { COLOURS } from "./plan-map.js";
import { FIELDS } from "./plan-store.js";

const PREFIX = "scenario:", NEAR_DEG = 0.02, AT_ONCE = 40;
export const scenarioOf = (side) => (side?.startsWith(PREFIX) ? side.slice(PREFIX.length) : "");
export const sideOf = (name) => PREFIX + name;

const collected = (features) => ({ type: "FeatureCollection", features });
const scenes = new Map(); // by name, with the entity that it was made from

// Rows of a scenario and what its cameras see, looked at in neighbourhoods of a few kilometres.
export async function sceneOf(name) {
  const page = await items("camera_plan", { filter: `scenario = ${quoted(name)}`, limit: 2000 });
  const made = JSON.stringify(page.features), kept = scenes.get(name);
  if (kept?.made === made) return kept;
  const rows = page.features.map((f) => ({ ...Object.fromEntries(FIELDS.map((field) => [field, f.properties[field] ?? null])), lon: f.geometry.coordinates[0], lat: f.geometry.coordinates[1] }));
  if (!rows.length) tell(`没有已存的方案“${name}”，或尚无改动。`, `There is no scenario “${name}”, or it has no changes yet.`, { bad: true });
  const places = new Map();
  for (const row of rows) {
    if (["remove", "switch_off"].includes(row.action)) continue;
    const key = [row.lon, row.lat].map((v) => Math.floor(v / NEAR_DEG)).join();
    let at = key;
    for (let n = 1; (places.get(at) || []).length >= AT_ONCE; n += 1) at = `${key}+${n}`;
    places.set(at, [...(places.get(at) || []), row.camera]);
  }
  const views = [];
  let failed = 0;
  let looked = 0;
  for (const focus of places.values()) {
    tell(`正在计算方案“${name}”的可视范围：${looked} / ${places.size}`, `What “${name}” would see is being computed: ${looked} of ${places.size}`, { stay: true });
    looked += 1;
    try {
      const found = await askJSON("/scenarios/preview", { method: "POST", headers: { "Content-Type": "application/json" }, quiet: true, body: JSON.stringify({ rows, focus }) });
      views.push(...found.views.features);
    } catch (error) { if (error.status === undefined) throw error; failed += focus.length; }
  }
  if (places.size) tell("", "");
  if (failed) tell(`${failed} 台摄像机的可视范围无法计算，图上只有位置。`, `What ${failed} cameras see could not be computed; only their places are drawn.`, { bad: true });
  const features = rows.map((row) => ({ type: "Feature", properties: { camera: row.camera, action: row.action }, geometry: { type: "Point", coordinates: [row.lon, row.lat] } }));
  const scene = { name, made, rows: collected(features), views: collected(views), replaced: rows.filter((row) => row.action !== "add").map((row) => row.camera) };
  scenes.set(name, scene);
  return scene;
}

// Cameras of the register that the scenario changes are not drawn as they are.
const kept = (names, filter) => { const own = ["!", ["any", ["in", ["to-string", ["get", "device_code"]], ["literal", names]], ["in", ["to-string", ["get", "id"]], ["literal", names]]]]; return filter ? ["all", filter, own] : own; };

const LAYERS = [
  { id: "side-views-fill", type: "fill", source: "side-views", paint: { "fill-color": ["match", ["get", "certainty"], "confirmed", "#0072b2", "#e69f00"], "fill-opacity": ["match", ["get", "certainty"], "confirmed", 0.38, 0.14] } },
  { id: "side-views-line", type: "line", source: "side-views", paint: { "line-color": ["match", ["get", "certainty"], "confirmed", "#0072b2", "#e69f00"], "line-width": 1.4 } },
  { id: "side-rows", type: "circle", source: "side-rows", paint: { "circle-radius": 6.5, "circle-color": COLOURS, "circle-stroke-color": "#1b2530", "circle-stroke-width": 2 } },
];
const POINTS = () => (catalogue.layers.get("camera_site")?.drawing || []).map((entry) => entry.id);

// The style with a scenario in it, or without any: what is being edited and the other side's scenario are not part of a side.
export function styleWith(style, scene) {
  const own = (id) => id.startsWith("side-") || id.startsWith("plan-");
  const found = { ...style, sources: Object.fromEntries(Object.entries(style.sources).filter(([name]) => !own(name))), layers: style.layers.filter((layer) => !own(layer.id)).map((layer) => (POINTS().includes(layer.id) ? { ...layer, filter: declared(layer.id) } : layer)) };
  for (const layer of found.layers) if (layer.filter === undefined) delete layer.filter;
  if (!scene) return found;
  found.sources["side-views"] = { type: "geojson", data: scene.views };
  found.sources["side-rows"] = { type: "geojson", data: scene.rows };
  found.layers = found.layers.map((layer) => (POINTS().includes(layer.id) ? { ...layer, filter: kept(scene.replaced, layer.filter) } : layer));
  const at = found.layers.findIndex((layer) => layer.id === "picked-fill");
  found.layers.splice(at, 0, ...LAYERS);
  return found;
}

const declared = (id) => catalogue.layers.get("camera_site").drawing.find((entry) => entry.id === id)?.filter;

// The same on the map that stands.
export function drawSide(map, scene) {
  for (const { id } of LAYERS) if (map.getLayer(id)) map.removeLayer(id);
  for (const id of ["side-views", "side-rows"]) if (map.getSource(id)) map.removeSource(id);
  for (const id of POINTS()) if (map.getLayer(id)) map.setFilter(id, scene ? kept(scene.replaced, declared(id)) : declared(id) ?? null);
  if (!scene) return;
  map.addSource("side-views", { type: "geojson", data: scene.views });
  map.addSource("side-rows", { type: "geojson", data: scene.rows });
  for (const layer of LAYERS) map.addLayer(layer, "picked-fill");
}

export const labelOf = (name) => said(`方案 ${name}`, `Scenario ${name}`);
