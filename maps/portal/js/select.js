// Selecting by rectangle, polygon or buffer: statistics of what is in it, by class, and its export as a file.
import { both, el, option, said, tell } from "./dom.js";
import { count, itemsPath, quoted, root } from "./server.js";
import { catalogue } from "./catalogue.js";
import { isOn } from "./layers.js";
import { area, bars } from "./tools.js";

const METRE = 1 / 111320;
const text = (ring) => `POLYGON((${ring.map(([x, y]) => `${x.toFixed(7)} ${y.toFixed(7)}`).join(",")}))`;

// A circle around a point, as a ring of 64 corners (metres on the ground, good to a thousandth in a city).
export function circle([lon, lat], radius) {
  const across = METRE / Math.cos(lat * Math.PI / 180), ring = [];
  for (let n = 0; n < 64; n += 1) ring.push([lon + radius * across * Math.cos(n * Math.PI / 32), lat + radius * METRE * Math.sin(n * Math.PI / 32)]);
  return [...ring, ring[0]];
}

const conditionOf = (ring) => `S_INTERSECTS(geometry, ${text(ring)})`;

async function tally(ring) {
  const inside = conditionOf(ring), layers = [...catalogue.layers.values()].filter((layer) => layer.drawn && isOn(layer.name) && layer.count !== 0);
  const found = await Promise.all(layers.map(async (layer) => {
    const total = await count(layer.name, { filter: inside }), field = layer.by ? layer.field.get(layer.by) : null;
    const classes = total && field?.terms && layer.kind !== "base" ? await Promise.all(layer.classes.map(async (c) => ({ ...c, n: await count(layer.name, { filter: `${inside} AND ${c.key === "" ? `${layer.by} IS NULL` : `${layer.by} = ${field.type === "bool" || field.integer ? c.key : quoted(c.key)}`}` }) }))) : [];
    return { layer, total, classes: classes.filter((c) => c.n) };
  }));
  return found.filter((part) => part.total !== 0);
}

// Handed to the browser as an address: it writes to the disk as it comes, shows how far it is and can be stopped there; nothing is kept in the page.
function save(layer, ring, format) {
  const path = itemsPath(layer.name, { f: format, filter: conditionOf(ring), lang: said("zh", "en"), ...(format === "csv" ? { bom: "true" } : {}) });
  const link = el("a", { href: root + path, download: `${layer.name}.${format}` });
  document.body.append(link);
  link.click();
  link.remove();
  tell("浏览器正在下载；进度和取消见浏览器的下载列表。", "The browser downloads the file; its list of downloads shows how far it is and can cancel it.");
}

export async function showSelection(ring, place) {
  tell("正在统计……", "Counting…", { stay: true });
  const found = await tally(ring);
  tell("", "");
  const format = el("select", { id: "selection-format", "data-label-zh": "文件格式", "data-label-en": "File format" }, option("gpkg", "GeoPackage", "GeoPackage"), option("csv", "CSV", "CSV"), option("xlsx", "Excel", "Excel"));
  place(el("section", {}, el("h2", { class: "title" }, both("选区统计", "Statistics of the selection")), el("p", { class: "note" }, both(`面积 ${(area(ring.slice(0, -1)) / 1e6).toFixed(3)} 平方公里；只统计已打开的图层`, `${(area(ring.slice(0, -1)) / 1e6).toFixed(3)} km²; visible layers only`)),
    found.length ? el("div", { class: "row" }, both("导出为", "Export as"), format) : el("p", {}, both("选区内没有要素。", "Nothing in the selection.")),
    ...found.map(({ layer, total, classes }) => el("div", { "data-layer": layer.name }, el("h2", { class: "title" }, both(layer.zh, layer.en), ` ${total === null ? "?" : total.toLocaleString("en")} `, el("a", { href: `/collections/${layer.name}/items?${new URLSearchParams({ f: "html", filter: conditionOf(ring) })}`, target: "_blank", rel: "noopener" }, both("列表", "list")), " ", el("button", { type: "button", onclick: () => save(layer, ring, format.value) }, both("导出", "Export"))),
      classes.length ? bars(classes.map((c) => ({ ...c, label: both(c.zh, c.en) }))) : null))));
}
