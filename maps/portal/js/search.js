// Search by words, code, chainage (K12+300) or coordinates (longitude, latitude).
import { both, byId, el, said } from "./dom.js";
import { askJSON, items } from "./server.js";
import { catalogue, hasData, nameOf, title } from "./catalogue.js";
import { flyTo, highlight, map } from "./map.js";
import { openFeature } from "./detail.js";
import { show } from "./layers.js";
import { fromGcj, readCoordinates } from "./coordinates.js";

const LOOKED = ["outfall", "camera_site", "school", "key_area", "layout_unit", "grid_cell", "pollution_source", "medical_site", "smart_community", "community", "admin_area", "road", "place", "water", "kitchen", "exhaust_station"];
const CHAINAGE = /^[Kk](\d+)\+(\d{1,3})$/;

export function readPlace(text) {
  const chainage = CHAINAGE.exec(text);
  if (chainage) return { metres: Number(chainage[1]) * 1000 + Number(chainage[2]) };
  const [west, south, east, north] = catalogue.city.bounds;
  return readCoordinates(text, (x, y) => x >= west - 1 && x <= east + 1 && y >= south - 1 && y <= north + 1);
}

let running = null;

async function find(text) {
  running?.abort();
  running = new AbortController();
  const { signal } = running, place = readPlace(text);
  const point = (lon, lat) => ({ type: "Point", coordinates: [lon, lat] });
  if (place?.lon !== undefined) {
    const at = (lon, lat, note) => ({ label: `${lon.toFixed(6)}, ${lat.toFixed(6)}`, note, go: () => { highlight(point(lon, lat)); flyTo(point(lon, lat), { maxZoom: 16 }); } });
    // Which of the two was pasted cannot be seen from the numbers: both are offered.
    return [at(place.lon, place.lat, said("WGS 84 / CGCS2000", "WGS 84 / CGCS2000")), at(...fromGcj(place.lon, place.lat), said("若为 GCJ-02（手机地图）", "if it was GCJ-02 (phone maps)"))];
  }
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
    if (text.length < (/[\u4e00-\u9fff]/.test(text) ? 1 : 2)) { close(); return; }
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
