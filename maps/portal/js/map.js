// The map: our own layers as vector tiles, drawn by their declared styles; highlight and scratch drawings above them.
import { byId, tell } from "./dom.js";
import { headers, quoted, root } from "./server.js";
import { catalogue } from "./catalogue.js";
import { keepFluid } from "./fluid.js";
import { keepState, state } from "./state.js";

export let map = null;
const SHIFT = 14; // more names than this many characters wrap
const opacities = new Map(); // MapLibre layer → its paint opacity as declared

// Makes the map; false where the browser cannot draw one.
export async function makeMap() {
  const [west, south, east, north] = catalogue.city.focus || catalogue.city.bounds;
  const style = {
    version: 8,
    glyphs: `${root}/portal/glyphs/{fontstack}/{range}.pbf`,
    sources: {
      picked: { type: "geojson", data: { type: "FeatureCollection", features: [] } },
      scratch: { type: "geojson", data: { type: "FeatureCollection", features: [] } },
    },
    layers: [
      { id: "ground", type: "background", paint: { "background-color": "#f3f1ea" } },
      // Areas, lines and points go below "names", names below "picked-fill".
      { id: "names", type: "background", layout: { visibility: "none" } },
      { id: "picked-fill", type: "fill", source: "picked", filter: ["==", ["geometry-type"], "Polygon"], paint: { "fill-color": "#ffdd00", "fill-opacity": 0.25 } },
      { id: "picked-line", type: "line", source: "picked", paint: { "line-color": "#111111", "line-width": 3.5 } },
      { id: "picked-line-in", type: "line", source: "picked", paint: { "line-color": "#ffdd00", "line-width": 1.8 } },
      { id: "picked-point", type: "circle", source: "picked", filter: ["==", ["geometry-type"], "Point"], paint: { "circle-radius": 11, "circle-color": "#ffdd00", "circle-opacity": 0.35, "circle-stroke-color": "#111111", "circle-stroke-width": 2 } },
      { id: "scratch-fill", type: "fill", source: "scratch", filter: ["==", ["geometry-type"], "Polygon"], paint: { "fill-color": "#0b5c8e", "fill-opacity": 0.12 } },
      { id: "scratch-line", type: "line", source: "scratch", paint: { "line-color": "#0b5c8e", "line-width": 2, "line-dasharray": [2, 1.5] } },
      { id: "scratch-point", type: "circle", source: "scratch", filter: ["==", ["geometry-type"], "Point"], paint: { "circle-radius": 4, "circle-color": "#ffffff", "circle-stroke-color": "#0b5c8e", "circle-stroke-width": 2 } },
    ],
  };
  const options = {
    container: "map",
    style,
    bounds: state.zoom === null ? [[west, south], [east, north]] : undefined,
    center: state.zoom === null ? undefined : [state.lon, state.lat],
    zoom: state.zoom === null ? undefined : state.zoom,
    attributionControl: { compact: false, customAttribution: "Baige 百格 · MapLibre" },
    localIdeographFontFamily: '"Noto Sans CJK SC", "Microsoft YaHei", sans-serif',
    canvasContextAttributes: { preserveDrawingBuffer: true, antialias: false },
    maxZoom: 20,
    dragRotate: false,
    pitchWithRotate: false,
    touchPitch: false,
    fadeDuration: 0,
    transformRequest: (url) => ({ url, headers: headers(), credentials: "same-origin" }),
  };
  try { map = new maplibregl.Map(options); } catch (error) {
    if (!String(error.message).includes("WebGL")) throw error;
    return false;
  }
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  ownLetters(map);
  keepFluid(map);
  map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "bottom-right");
  map.addControl(new maplibregl.ScaleControl({ maxWidth: 140, unit: "metric" }), "bottom-left");
  map.on("error", (event) => {
    const status = event.error?.status;
    if (status === 401 || status === 403) tell("没有权限查看此图层。", "You may not see this layer.", { bad: true });
    else if (status >= 500) tell("服务器暂时无法提供地图瓦片。", "The server cannot deliver map tiles at the moment.", { bad: true });
  });
  map.on("moveend", () => {
    const at = map.getCenter();
    Object.assign(state, { zoom: map.getZoom(), lat: at.lat, lon: at.lng });
    keepState();
  });
  map.on("idle", () => { document.body.dataset.drawn = "yes"; });
  // The style stands before the first frame is drawn: what belongs on the map need not wait for that.
  await new Promise((done) => { if (map.isStyleLoaded()) done(); else map.once("style.load", done); });
  addPictures();
  for (const source of ["picked", "scratch"]) setShapes(map, source, []);
  byId("map").querySelector("canvas").setAttribute("aria-label", "地图 Map");
  return true;
}

// Pictures below all layers: another service's base map by way of our server (off at first), and shaded relief.
export const PICTURES = [["base", "外部底图", "Base map of another service"], ["relief", "地形晕渲", "Shaded relief"]];
export const hasPicture = (name) => Boolean(catalogue[name]);

function addPictures() {
  const first = map.getStyle().layers[1]?.id;
  for (const [name] of PICTURES) {
    if (!hasPicture(name)) continue;
    const bounds = name === "relief" ? catalogue.city.bounds : undefined;
    map.addSource(name, { type: "raster", tiles: [`${root}/portal/${name}/{z}/{y}/{x}`], tileSize: name === "relief" ? 512 : 256, maxzoom: name === "relief" ? 14 : 18, ...(bounds ? { bounds } : {}), ...(name === "base" ? { attribution: catalogue.base.replaceAll("<", "&lt;") } : {}) });
    map.addLayer({ id: name, type: "raster", source: name, layout: { visibility: pictureOn(name) ? "visible" : "none" }, paint: { "raster-fade-duration": 0 } }, first);
  }
}

export const pictureOn = (name) => state.pictures.split(",").includes(name);
export function setPicture(name, on) {
  state.pictures = [...PICTURES.map(([known]) => known).filter((known) => (known === name ? on : pictureOn(known))), "x"].join(",");
  map.setLayoutProperty(name, "visibility", on ? "visible" : "none");
  keepState();
}

// All letters are drawn by the browser's own fonts: no glyph files are needed.
export function ownLetters(of) {
  if (of.style?.glyphManager) of.style.glyphManager._doesCharSupportLocalGlyph = () => true;
}

const order = () => [...catalogue.layers.values()].filter((layer) => layer.drawn).sort((a, b) => a.height - b.height);

// Names of layers from the ground up: as the link has them, then as they lie by themselves. Puts what is drawn in that order.
export function sortLayers() {
  const names = order().map((layer) => layer.name), wanted = state.order.split(",").filter((name) => names.includes(name));
  // Those with a place of their own take, in their order, the places that they have among all.
  const places = names.map((name, n) => (wanted.includes(name) ? n : -1)).filter((n) => n >= 0);
  places.forEach((n, k) => { names[n] = wanted[k]; });
  if (wanted.length) for (const name of names) for (const entry of catalogue.layers.get(name).drawing) if (!entry.id.endsWith("-label") && map.getLayer(entry.id)) map.moveLayer(entry.id, "names");
  if (wanted.length) for (const name of names) if (map.getLayer(`${name}-cells`)) map.moveLayer(`${name}-cells`, "names");
  return names;
}

// The first drawn MapLibre layer above a given layer of ours, so that switching on keeps the order.
function above(layer) {
  const all = order();
  for (const other of all.slice(all.indexOf(layer) + 1)) {
    const first = other.drawing.find((entry) => !entry.id.endsWith("-label") && map.getLayer(entry.id));
    if (first) return first.id;
  }
  return "names";
}

// Below a server-set zoom crowded layers come as cells with a number; those get a circle and the number.
function merged(layer) {
  const colour = layer.drawing.find((entry) => entry.type === "circle")?.paint["circle-color"];
  if (!colour) return [];
  // only cells that are points: on an area a circle would stand at each corner
  const common = { source: layer.name, "source-layer": layer.name, filter: ["all", ["==", ["geometry-type"], "Point"], ["==", ["get", "merged"], true], [layer.minZoom > 0 ? ">=" : ">", ["get", "n"], 1]] };
  return [
    { id: `${layer.name}-cells`, type: "circle", ...common, paint: { "circle-color": colour, "circle-opacity": 0.75, "circle-stroke-color": "#ffffff", "circle-stroke-width": 1, "circle-radius": ["interpolate", ["linear"], ["log10", ["max", 1, ["get", "n"]]], 0, 3, 0.3, 8, 1, 10, 2, 14, 4, 22] } },
    { id: `${layer.name}-numbers`, type: "symbol", ...common, layout: { "text-field": ["case", [">", ["get", "n"], 1], ["to-string", ["get", "n"]], ""], "text-size": 11, "text-font": ["sans"] }, paint: { "text-color": "#ffffff", "text-halo-color": "#22303c", "text-halo-width": 1.2 } },
  ];
}

// What of a layer is on the map: one kind of unit of the shares, one layout (else they lie over each other) and all or one of its levels.
export function cutOf(name) {
  if (name === "coverage_by_grid") return `unit_kind = '${state.unit || "grid"}'`;
  if (name !== "layout_unit" && name !== "layout_fault") return "";
  const [layout, version] = (state.layout || "current@").split("@");
  const parts = [`layout = ${quoted(layout)}`, state.level ? `level = ${quoted(state.level)}` : "", version ? `version = ${Number(version)}` : ""];
  if (!version && name === "layout_unit") parts.push("valid_to IS NULL");
  return parts.filter(Boolean).join(" AND ");
}

// What is not base map can be shown as it was.
export function tilesOf(name, asof = state.asof) {
  const cut = cutOf(name), filter = cut ? `&filter=${encodeURIComponent(cut)}` : "";
  const past = asof && !asof.startsWith("scenario:") && catalogue.layers.get(name)?.kind !== "base" ? `&as-of=${encodeURIComponent(asof)}` : "";
  return [`${root}/collections/${name}/tiles/WebMercatorQuad/{z}/{y}/{x}?f=mvt${filter}${past}`];
}

const namesOf = (name) => `${root}/portal/labels/${name}${cutOf(name) ? `?filter=${encodeURIComponent(cutOf(name))}` : ""}`;

export function renewTiles(name) {
  map.getSource(name)?.setTiles(tilesOf(name));
  map.getSource(`${name}-names`)?.setData(namesOf(name));
}

export function setLayer(name, on) {
  const layer = catalogue.layers.get(name);
  if (!layer?.drawn || !map) return;
  if (on && !map.getSource(name)) {
    map.addSource(name, { type: "vector", tiles: tilesOf(name), minzoom: 0, maxzoom: 16 });
    const labels = [], areas = layer.families.includes("fill");
    if (areas && layer.drawing.some((entry) => entry.type === "symbol")) map.addSource(`${name}-names`, { type: "geojson", data: namesOf(name) });
    for (const given of [...layer.drawing, ...merged(layer)]) {
      const entry = structuredClone(given);
      if (entry.type === "symbol" && entry.layout) entry.layout["text-font"] = ["sans"];
      if (entry.type === "symbol") entry.layout["text-max-width"] = SHIFT;
      if (entry.type === "symbol" && areas && !entry.id.endsWith("-numbers")) {
        // Names of areas stand once each, at a point of their own; in tiles they would repeat at every edge.
        Object.assign(entry, { source: `${name}-names` });
        delete entry["source-layer"];
        Object.assign(entry.layout, { "text-field": ["get", "label"], "symbol-sort-key": ["get", "rank"] });
      }
      for (const property of ["fill-opacity", "line-opacity", "circle-opacity", "text-opacity"]) if (entry.paint?.[property] !== undefined) opacities.set(`${entry.id} ${property}`, entry.paint[property]);
      if (entry.type === "symbol") labels.push(entry);
      else map.addLayer(entry, above(layer));
    }
    for (const entry of labels) map.addLayer(entry, "picked-fill");
    setOpacity(name, state.opacity[name] ?? 1);
  }
  if (map.getSource(name)) for (const id of idsOf(layer)) map.setLayoutProperty(id, "visibility", on ? "visible" : "none");
}

export const idsOf = (layer) => [...layer.drawing.map((entry) => entry.id), `${layer.name}-cells`, `${layer.name}-numbers`].filter((id) => map.getLayer(id));

export function setOpacity(name, value) {
  const layer = catalogue.layers.get(name);
  if (!layer || !map.getSource(name)) return;
  for (const id of idsOf(layer)) {
    const type = map.getLayer(id).type, property = { fill: "fill-opacity", line: "line-opacity", circle: "circle-opacity", symbol: "text-opacity" }[type];
    const declared = opacities.get(`${id} ${property}`) ?? 1;
    map.setPaintProperty(id, property, value === 1 ? declared : typeof declared === "number" ? declared * value : ["*", value, declared]);
    if (type === "circle") map.setPaintProperty(id, "circle-stroke-opacity", value);
  }
}

// Shapes of our own on a map. Layers without any are switched off: each would cost a pass over the whole map.
export function setShapes(of, source, features) {
  if (!of.getSource(source)) return;
  of.getSource(source).setData({ type: "FeatureCollection", features });
  const wanted = features.length ? "visible" : "none";
  for (const id of of.getLayersOrder()) if (of.getLayer(id).source === source && (of.getLayoutProperty(id, "visibility") ?? "visible") !== wanted) of.setLayoutProperty(id, "visibility", wanted);
}

export const highlight = (geometry) => setShapes(map, "picked", geometry ? [{ type: "Feature", geometry, properties: {} }] : []);
export const scratch = (features) => setShapes(map, "scratch", features);

export function boundsOf(geometry) {
  const box = new maplibregl.LngLatBounds();
  const walk = (at) => (typeof at[0] === "number" ? box.extend([at[0], at[1]]) : at.forEach(walk));
  if (geometry?.type === "GeometryCollection") geometry.geometries.forEach((part) => walk(part.coordinates));
  else if (geometry) walk(geometry.coordinates);
  return box;
}

export function flyTo(geometry, { maxZoom = 17 } = {}) {
  if (!geometry) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  map.fitBounds(boundsOf(geometry), { maxZoom, padding: 80, duration: still ? 0 : 700 });
}
