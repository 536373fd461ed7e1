// The attribute table: pages, sorts and filters on the server, in step with the map.
import { both, byId, download, el, labelled, option, said, tell } from "./dom.js";
import { ask, askJSON, items, itemsPath, nextPath, quoted } from "./server.js";
import { catalogue, shown, title } from "./catalogue.js";
import { map } from "./map.js";
import { openFeature } from "./detail.js";
import { show } from "./layers.js";
import { keepState, state } from "./state.js";

const PAGE = 50, MAX_COLUMNS = 14;
let layer = null, sortby = "", inView = false, next = null, total = null, running = null, body = null, note = null;

const bboxOfView = () => {
  const b = map.getBounds();
  return [b.getWest(), b.getSouth(), b.getEast(), b.getNorth()].map((v) => v.toFixed(6)).join(",");
};

export const parameters = () => ({ filter: state.filter, bbox: inView && layer.drawn ? bboxOfView() : "", sortby });

export function filterOf(field, operator, text) {
  if (operator === "null") return `${field.name} IS NULL`;
  if (operator === "like") return `CASEI(${field.name}) LIKE CASEI(${quoted(`%${text}%`)})`;
  const numeric = ["int", "num"].includes(field.type) || field.integer;
  const value = field.type === "bool" ? (text === "true") : numeric ? Number(text) : field.type === "date" ? `DATE(${quoted(text)})` : field.type === "datetime" ? `TIMESTAMP(${quoted(text.length === 10 ? `${text}T00:00:00Z` : text)})` : quoted(text);
  return `${field.name} ${operator} ${value}`;
}

function columns() {
  const listed = layer.fields.filter((field) => field.listed && !["source_org", "source_ref", "synthetic", "run_id", "name_en"].includes(field.name));
  return listed.slice(0, MAX_COLUMNS);
}

function rows(features) {
  const wanted = columns();
  for (const found of features) {
    const id = found.id;
    const row = el("tr", { tabindex: body.children.length ? -1 : 0, "data-id": id, "aria-selected": String(state.picked === `${layer.name}/${id}`), onclick: () => openFeature(layer.name, id, { fly: true }), onkeydown: (event) => onKey(event, row, id) },
      wanted.map((field) => el("td", {}, shown(field, found.properties[field.name]))));
    body.append(row);
  }
}

// One stop of the tab key for all rows; arrows, Home and End go through them.
function onKey(event, row, id) {
  const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: body.firstElementChild, End: body.lastElementChild }[event.key];
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); openFeature(layer.name, id, { fly: true }); }
  if (!to) return;
  event.preventDefault();
  row.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function count() {
  const have = body.children.length;
  note.replaceChildren(total === null ? `${have}+` : `${have.toLocaleString("en")} / ${total.toLocaleString("en")}`);
}

async function load(path) {
  running?.abort();
  running = new AbortController();
  const page = path ? await askJSON(path, { signal: running.signal }) : await items(layer.name, { ...parameters(), limit: PAGE, skipGeometry: true }, { signal: running.signal });
  if (!path) body.replaceChildren();
  next = nextPath(page);
  total = page.numberMatched ?? total;
  rows(page.features);
  count();
  byId("more-rows").hidden = !next;
}

async function reload() {
  if (!layer) return;
  total = null;
  try {
    await load(null);
  } catch (error) {
    if (error.name !== "AbortError") body.replaceChildren();
  }
}

async function save(format, name) {
  tell("正在准备文件……", "Preparing the file…", { stay: true });
  const { sortby: _, ...rest } = parameters();
  const stop = new AbortController();
  byId("said").append(" ", el("button", { type: "button", onclick: () => stop.abort() }, both("取消", "Cancel")));
  try {
    const response = await ask(itemsPath(layer.name, { f: format, ...rest, ...(format === "csv" ? { bom: "true", lang: said("zh", "en") } : {}) }), { signal: stop.signal });
    download(name, await response.blob());
    tell("文件已保存。", "The file is saved.");
  } catch (error) {
    if (error.name === "AbortError") tell("已取消。", "Cancelled.");
  }
}

export function openTable(name) {
  layer = catalogue.layers.get(name);
  if (!layer) return;
  if (state.table !== name) state.filter = "";
  state.table = name;
  sortby = "";
  keepState();
  const box = byId("table");
  const choice = el("select", { id: "table-layer", "data-label-zh": "图层", "data-label-en": "Layer", onchange: () => openTable(choice.value) },
    [...catalogue.layers.values()].filter((l) => l.count !== 0 || l.name === name).map((l) => option(l.name, l.zh, l.en, l.name === name)));
  const field = el("select", { "data-label-zh": "字段", "data-label-en": "Field" }, layer.fields.filter((f) => f.listed && f.type !== "text[]").map((f) => option(f.name, f.zh, f.en)));
  const operator = el("select", { "data-label-zh": "比较", "data-label-en": "Comparison" }, [["=", "等于", "is"], ["like", "包含", "contains"], [">=", "不小于", "at least"], ["<=", "不大于", "at most"], ["null", "为空", "is empty"]].map(([v, zh, en]) => option(v, zh, en)));
  const holder = el("span");
  const valueBox = () => {
    const f = layer.field.get(field.value);
    holder.replaceChildren(f?.terms ? el("select", { "data-label-zh": "值", "data-label-en": "Value" }, Object.entries(f.terms).map(([v, [zh, en]]) => option(v, zh, en))) : el("input", { size: 10, type: f?.type === "date" ? "date" : "text", "data-label-zh": "值", "data-label-en": "Value" }));
    labelled(holder);
  };
  field.addEventListener("change", valueBox);
  const cql = el("input", { class: "cql", id: "cql", value: state.filter, spellcheck: "false", "data-label-zh": "CQL2 过滤条件", "data-label-en": "CQL2 filter", "data-hint-zh": "CQL2 过滤条件", "data-hint-en": "CQL2 filter" });
  const filter = (text) => { state.filter = text; cql.value = text; keepState(); reload(); };
  const form = el("form", { class: "row", onsubmit: (event) => {
    event.preventDefault();
    const f = layer.field.get(field.value), text = holder.firstElementChild.value;
    if (operator.value === "null" || text !== "") filter(filterOf(f, operator.value, text));
  } }, field, operator, holder, el("button", { type: "submit" }, both("筛选", "Filter")));
  const view = el("input", { type: "checkbox", id: "in-view", onchange: () => { inView = view.checked; reload(); } });
  view.checked = inView;
  note = el("span", { class: "count", id: "row-count" });
  body = el("tbody");
  const head = el("tr", {}, columns().map((f) => el("th", { scope: "col", "aria-sort": "none" }, f.type === "text[]" ? el("span", {}, both(f.zh, f.en)) : el("button", { type: "button", onclick: (event) => {
    sortby = sortby === `+${f.name}` ? `-${f.name}` : `+${f.name}`;
    for (const th of head.children) th.setAttribute("aria-sort", "none");
    event.target.closest("th").setAttribute("aria-sort", sortby[0] === "+" ? "ascending" : "descending");
    reload();
  } }, both(f.zh + (f.unit ? ` (${f.unit})` : ""), f.en + (f.unit ? ` (${f.unit})` : ""))))));
  box.replaceChildren(
    el("div", { class: "head" }, choice, note, form, cql,
      el("button", { type: "button", onclick: () => filter(cql.value.trim()) }, both("应用", "Apply")),
      el("button", { type: "button", onclick: () => filter("") }, both("清除", "Clear")),
      el("label", { for: "in-view" }, view, " ", both("仅地图范围", "Map extent only")),
      el("button", { type: "button", onclick: () => save("csv", `${name}.csv`) }, "CSV"),
      el("button", { type: "button", onclick: () => save("gpkg", `${name}.gpkg`) }, "GeoPackage"),
      el("button", { type: "button", id: "close-table", "data-label-zh": "关闭属性表", "data-label-en": "Close the table", onclick: closeTable }, "×")),
    el("div", { class: "scroll", tabindex: 0, "data-label-zh": "表格内容", "data-label-en": "Rows" }, el("table", {}, el("caption", { hidden: true }, title(layer)), el("thead", {}, head), body), el("button", { type: "button", id: "more-rows", hidden: true, onclick: () => load(next) }, both("更多", "More"))));
  valueBox();
  labelled(box);
  box.hidden = false;
  if (layer.drawn) show(name);
  map.resize();
  reload();
}

export function closeTable() {
  byId("table").hidden = true;
  state.table = state.filter = "";
  keepState();
  layer = null;
  map.resize();
}

export function setUpTable() {
  map.on("moveend", () => { if (inView && layer) reload(); });
  document.addEventListener("baige:picked", ({ detail }) => {
    if (!layer || detail.name !== layer.name) return;
    for (const row of body.children) {
      const is = row.dataset.id === detail.id;
      row.setAttribute("aria-selected", String(is));
      if (is) row.scrollIntoView({ block: "nearest" });
    }
  });
  document.addEventListener("baige:language", () => { if (layer) openTable(layer.name); });
}
