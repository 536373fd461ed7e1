// Search by words, code, chainage (K12+300) or coordinates (longitude, latitude).
import { both, byId, el, said } from "./dom.js";
import { askJSON, items } from "./server.js";
import { catalogue, hasData, nameOf, title } from "./catalogue.js";
import { flyTo, highlight, map } from "./map.js";
import { openFeature } from "./detail.js";
import { show } from "./layers.js";

const LOOKED = ["outfall", "camera_site", "school", "key_area", "layout_unit", "grid_cell", "pollution_source", "medical_site", "smart_community", "community", "admin_area", "road", "place", "water", "kitchen", "exhaust_station"];
const CHAINAGE = /^[Kk](\d+)\+(\d{1,3})$/;
const COORDINATES = /^(-?\d+(?:\.\d+)?)[\s,，]+(-?\d+(?:\.\d+)?)$/;

export function readPlace(text) {
  const chainage = CHAINAGE.exec(text);
  if (chainage) return { metres: Number(chainage[1]) * 1000 + Number(chainage[2]) };
  const at = COORDINATES.exec(text);
  if (!at) return null;
  let [lon, lat] = [Number(at[1]), Number(at[2])];
  if (Math.abs(lat) > 90 && Math.abs(lon) <= 90) [lon, lat] = [lat, lon];
  const [west, south, east, north] = catalogue.city.bounds;
  // "30.7, 111.3" is meant as latitude first where only that lies in the city.
  const inside = (x, y) => x >= west - 1 && x <= east + 1 && y >= south - 1 && y <= north + 1;
  if (!inside(lon, lat) && inside(lat, lon)) [lon, lat] = [lat, lon];
  return Math.abs(lon) <= 180 && Math.abs(lat) <= 90 ? { lon, lat } : null;
}

let running = null;

async function find(text) {
  running?.abort();
  running = new AbortController();
  const { signal } = running, place = readPlace(text);
  const point = (lon, lat) => ({ type: "Point", coordinates: [lon, lat] });
  if (place?.lon !== undefined) return [{ label: `${place.lon}, ${place.lat}`, note: said("坐标", "Coordinates"), go: () => { highlight(point(place.lon, place.lat)); flyTo(point(place.lon, place.lat), { maxZoom: 16 }); } }];
  if (place) {
    const { places } = await askJSON(`/portal/chainage?m=${place.metres}`, { signal });
    return places.map((p) => ({ label: `${text.toUpperCase()} ${p.name}`, note: p.reach, go: () => { highlight(point(p.lon, p.lat)); flyTo(point(p.lon, p.lat), { maxZoom: 15 }); } }));
  }
  const names = LOOKED.filter((name) => hasData(name));
  const pages = await Promise.all(names.map((name) => items(name, { q: text, limit: 4, skipGeometry: true }, { signal }).catch((error) => { if (error.name === "AbortError") throw error; return { features: [] }; })));
  return pages.flatMap((page, n) => page.features.map((hit) => {
    const layer = catalogue.layers.get(names[n]);
    return { label: nameOf(layer, hit.properties, hit.id), note: title(layer), go: () => { show(layer.name); openFeature(layer.name, hit.id, { fly: true }); } };
  })).slice(0, 20);
}

export function setUpSearch() {
  const input = byId("words"), list = byId("found");
  let timer = 0;
  const close = () => { list.hidden = true; };
  async function look() {
    const text = input.value.trim();
    if (text.length < 2) { close(); return; }
    try {
      const hits = await find(text);
      list.replaceChildren(...(hits.length ? hits.map((hit) => el("li", {}, el("button", { type: "button", onclick: () => { close(); hit.go(); } }, el("span", {}, hit.label), el("small", {}, hit.note)))) : [el("li", {}, both("没有找到", "Nothing found"))]));
      list.hidden = false;
    } catch (error) {
      if (error.name !== "AbortError") close();
    }
  }
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 250); });
  byId("find").addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(timer);
    await look();
    list.querySelector("button")?.click();
  });
  byId("find").addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")], at = buttons.indexOf(document.activeElement);
    if (event.key === "Escape") { close(); input.focus(); }
    else if (event.key === "ArrowDown" && buttons.length) { event.preventDefault(); buttons[Math.min(at + 1, buttons.length - 1)].focus(); }
    else if (event.key === "ArrowUp" && at >= 0) { event.preventDefault(); (at ? buttons[at - 1] : input).focus(); }
  });
  document.addEventListener("click", (event) => { if (!byId("find").contains(event.target)) close(); });
  map.on("movestart", close);
}
