// The layers as the server describes them for this role, and how their values are shown.
import { askJSON } from "./server.js";
import { lang, said } from "./dom.js";

export const catalogue = { layers: new Map(), themes: [], runs: [], city: {}, quality: [], role: "public", synthetic: false };

export async function readCatalogue() {
  const found = await askJSON("/portal/config.json");
  Object.assign(catalogue, found, { layers: new Map(found.layers.map((layer) => [layer.name, layer])) });
  for (const layer of catalogue.layers.values()) {
    layer.field = new Map(layer.fields.map((field) => [field.name, field]));
    layer.drawn = layer.families.length > 0;
  }
  return catalogue;
}

export const title = (thing) => said(thing.zh, thing.en);
export const hasData = (name) => (catalogue.layers.get(name)?.count ?? 0) > 0;
export const LINE = 1, POINT = 2;

export function stationing(metres) {
  const whole = Math.round(Math.abs(metres));
  return `${metres < 0 ? "-" : ""}K${Math.floor(whole / 1000)}+${String(whole % 1000).padStart(3, "0")}`;
}

export function shown(field, value) {
  if (value === null || value === undefined || value === "") return "";
  const term = field?.terms?.[String(value)];
  if (term) return said(term[0], term[1]);
  if (field?.chainage && typeof value === "number") return stationing(value);
  if (field?.share && typeof value === "number") return `${Math.round(value * 1000) / 10} %`;
  if (field?.type === "datetime") return String(value).slice(0, 16).replace("T", " ");
  if (typeof value === "number") {
    const text = Math.abs(value) >= 1000 && field?.unit ? Math.round(value).toLocaleString("en") : String(Math.round(value * 100) / 100);
    return field?.unit ? `${text} ${field.unit}` : text;
  }
  if (Array.isArray(value)) return value.join(", ");
  return String(value);
}

export function nameOf(layer, properties, id = "") {
  const own = layer.label === "name_zh" && lang() === "en" ? properties.name_en : null;
  const by = own || (properties[layer.label] ?? properties.name_zh ?? properties.name_en);
  if (by !== null && by !== undefined && by !== "") return shown(layer.field.get(layer.label), by);
  return id ? id.slice(0, 8) : title(layer);
}

// The class that a value falls into, as everywhere (maps/style.py).
export function classOf(layer, value) {
  const unknown = layer.classes.find((c) => c.unknown) || layer.classes[layer.classes.length - 1];
  if (layer.by === null) return layer.classes[0];
  if (value === null || value === undefined || value === "") return unknown;
  const found = layer.classes.find((c) =>
    c.low === null && c.high === null ? c.key === String(value) : (c.low === null || value >= c.low) && (c.high === null || value < c.high));
  return found || unknown;
}
