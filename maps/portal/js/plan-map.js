// The scenario on the map: changed cameras, what they see, and handles to drag and turn the one that is picked.
import { map, setShapes } from "./map.js";
import { plan } from "./plan-store.js";

const BLUE = "#0b5c8e", HANDLE_PX = 46, NOTHING = { type: "FeatureCollection", features: [] };
export const COLOURS = ["match", ["get", "action"], "add", "#009e73", "move", "#0072b2", "turn", "#56b4e9", "switch_off", "#d55e00", "switch_on", "#f0e442", "remove", "#444444", "#ffffff"];
const point = (at, properties) => ({ type: "Feature", properties, geometry: { type: "Point", coordinates: at } });

export function setUpPlanMap() {
  for (const id of ["plan-views", "plan-rows", "plan-handles"]) map.addSource(id, { type: "geojson", data: NOTHING });
  const below = "picked-fill";
  map.addLayer({ id: "plan-views-fill", type: "fill", source: "plan-views", paint: { "fill-color": ["match", ["get", "certainty"], "confirmed", "#0072b2", "#e69f00"], "fill-opacity": ["match", ["get", "certainty"], "confirmed", 0.38, 0.14] } }, below);
  map.addLayer({ id: "plan-views-line", type: "line", source: "plan-views", paint: { "line-color": ["match", ["get", "certainty"], "confirmed", "#0072b2", "#e69f00"], "line-width": 1.4 } }, below);
  map.addLayer({ id: "plan-from", type: "line", source: "plan-rows", filter: ["==", ["geometry-type"], "LineString"], paint: { "line-color": "#333333", "line-width": 1.3, "line-dasharray": [2, 2] } });
  map.addLayer({ id: "plan-point", type: "circle", source: "plan-rows", filter: ["==", ["geometry-type"], "Point"], paint: { "circle-radius": 6.5, "circle-color": COLOURS, "circle-stroke-color": ["match", ["get", "state"], "saved", "#1b2530", "#d9a514"], "circle-stroke-width": 2 } });
  map.addLayer({ id: "plan-arm", type: "line", source: "plan-handles", filter: ["==", ["geometry-type"], "LineString"], paint: { "line-color": BLUE, "line-width": 2 } });
  map.addLayer({ id: "plan-move", type: "circle", source: "plan-handles", filter: ["==", ["get", "part"], "move"], paint: { "circle-radius": 11, "circle-color": BLUE, "circle-opacity": 0.25, "circle-stroke-color": BLUE, "circle-stroke-width": 2.5 } });
  map.addLayer({ id: "plan-turn", type: "circle", source: "plan-handles", filter: ["==", ["get", "part"], "turn"], paint: { "circle-radius": 8, "circle-color": "#ffffff", "circle-stroke-color": BLUE, "circle-stroke-width": 2.5 } });
  for (const id of ["plan-views", "plan-rows", "plan-handles"]) setShapes(map, id, []);
}

export function drawRows() {
  const features = [];
  for (const row of plan.rows.values()) {
    if (!row.action) continue;
    features.push(point([row.lon, row.lat], { camera: row.camera, action: row.action, state: row.state }));
    if (row.from && row.action === "move") features.push({ type: "Feature", properties: { camera: row.camera }, geometry: { type: "LineString", coordinates: [row.from, [row.lon, row.lat]] } });
  }
  setShapes(map, "plan-rows", features);
}

export const drawViews = (found) => setShapes(map, "plan-views", found?.features || []);

// Where the turning handle stands: so many pixels from the camera, in its direction.
export function drawHandles(picked) {
  const features = [];
  if (picked) {
    const at = [picked.lon, picked.lat];
    features.push(point(at, { part: "move" }));
    if (picked.azimuth_deg !== null && picked.action !== "remove") {
      const pixel = map.project(at), turn = picked.azimuth_deg * Math.PI / 180;
      const end = map.unproject([pixel.x + HANDLE_PX * Math.sin(turn), pixel.y - HANDLE_PX * Math.cos(turn)]).toArray();
      features.unshift({ type: "Feature", properties: {}, geometry: { type: "LineString", coordinates: [at, end] } });
      features.push(point(end, { part: "turn" }));
    }
  }
  setShapes(map, "plan-handles", features);
}

const atPixel = (pixel, layers, slack = 6) => map.queryRenderedFeatures([[pixel.x - slack, pixel.y - slack], [pixel.x + slack, pixel.y + slack]], { layers: layers.filter((id) => map.getLayer(id)) })[0];

// Dragging with mouse or finger. `moved(part, lnglat)` at each step, `done()` at the end.
export function setUpDragging({ active, pick, moved, done }) {
  let part = "";
  const begin = (event) => {
    if (!active() || (event.points && event.points.length > 1)) return;
    const hit = atPixel(event.point, ["plan-turn", "plan-move"], 4);
    if (!hit) return;
    event.preventDefault();
    part = hit.properties.part;
    map.dragPan.disable();
  };
  const move = (event) => { if (part) moved(part, event.lngLat, event.point); };
  const end = () => { if (part) { part = ""; map.dragPan.enable(); done(); } };
  map.on("mousedown", begin);
  map.on("touchstart", begin);
  map.on("mousemove", move);
  map.on("touchmove", move);
  window.addEventListener("mouseup", end);
  window.addEventListener("touchend", end);
  map.on("click", (event) => {
    if (!active()) return;
    const hit = atPixel(event.point, ["plan-point"], 8) || atPixel(event.point, ["camera_site-point"], 8);
    pick(hit ? (hit.source === "plan-rows" ? { camera: hit.properties.camera } : { id: hit.properties.id }) : null, event.lngLat);
  });
  map.on("mousemove", (event) => { if (active()) map.getCanvas().style.cursor = part ? "grabbing" : atPixel(event.point, ["plan-turn", "plan-move"], 4) ? "grab" : atPixel(event.point, ["plan-point", "camera_site-point"]) ? "pointer" : "crosshair"; });
}
