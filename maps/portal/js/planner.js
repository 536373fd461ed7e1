// The planner's panel: choropleth of coverage, gaps ranked with their cause, proposals.
import { both, el, labelled, option } from "./dom.js";
import { askJSON, count, items, nextPath, quoted } from "./server.js";
import { catalogue, classOf, hasData, nameOf, shown } from "./catalogue.js";
import { map, renewTiles } from "./map.js";
import { show } from "./layers.js";
import { openFeature } from "./detail.js";
import { bars } from "./tools.js";
import { keepState, state } from "./state.js";

const PAGE = 40;
let painted = "";

// Colour the coverage layer by another share, for one kind of unit.
export function paintCoverage(metric, unit) {
  const layer = catalogue.layers.get("coverage_by_grid");
  if (!layer || !map.getLayer("coverage_by_grid-fill")) return;
  const steps = ["step", ["to-number", ["get", metric]], layer.classes[0].color];
  for (const c of layer.classes) if (c.low !== null) steps.push(c.low, c.color);
  const known = ["all", ["has", metric], ["!=", ["get", metric], null]], unknown = layer.classes.find((c) => c.unknown).color;
  map.setPaintProperty("coverage_by_grid-fill", "fill-color", ["case", known, steps, unknown]);
  map.setPaintProperty("coverage_by_grid-fill", "fill-opacity", ["case", known, 0.65, 0.08]);
  map.setPaintProperty("coverage_by_grid-outline", "line-color", ["case", known, steps, unknown]);
  if (unit !== painted) renewTiles("coverage_by_grid");
  painted = unit;
}

function choropleth() {
  const layer = catalogue.layers.get("coverage_by_grid");
  const shares = layer.fields.filter((field) => field.share);
  state.metric ||= "online_overview";
  state.unit ||= "grid";
  const apply = () => { show("coverage_by_grid"); paintCoverage(state.metric, state.unit); keepState(); };
  const metric = el("select", { id: "metric", "data-label-zh": "指标", "data-label-en": "Measure", onchange: () => { state.metric = metric.value; apply(); } }, shares.map((f) => option(f.name, f.zh, f.en, f.name === state.metric)));
  const unit = el("select", { id: "unit", "data-label-zh": "统计单元", "data-label-en": "Unit", onchange: () => { state.unit = unit.value; apply(); rank(); } }, Object.entries(layer.field.get("unit_kind").terms).map(([v, [zh, en]]) => option(v, zh, en, v === state.unit)));
  const worst = el("ol", { class: "ranked" });
  async function rank() {
    const page = await items("coverage_by_grid", { filter: `unit_kind = ${quoted(state.unit)} AND ${state.metric} IS NOT NULL`, sortby: `+${state.metric}`, limit: 6, skipGeometry: true });
    worst.replaceChildren(...page.features.map((f, n) => el("li", {}, el("button", { type: "button", onclick: () => openFeature("coverage_by_grid", f.id, { fly: true }) }, el("b", {}, String(n + 1)), el("span", {}, nameOf(layer, f.properties, f.id)), el("small", {}, shown(layer.field.get(state.metric), f.properties[state.metric]))))));
  }
  metric.addEventListener("change", rank);
  rank();
  return el("div", {}, el("h2", { class: "title" }, both("覆盖率", "Coverage")), el("div", { class: "row" }, metric, unit, el("button", { type: "button", onclick: apply }, both("在图上显示", "Show on the map"))), el("p", { class: "note" }, both("最低的单元：", "Lowest units:")), worst);
}

function gaps() {
  const layer = catalogue.layers.get("coverage_gap"), list = el("ol", { class: "ranked", id: "gaps" }), more = el("button", { type: "button", hidden: true }, both("更多", "More")), causes = el("div");
  let cause = null, next = null, n = 0;
  async function load(path) {
    const page = path ? await askJSON(path) : await items("coverage_gap", { sortby: "+rank", limit: PAGE, skipGeometry: true, filter: cause === null ? "" : cause === "" ? "cause IS NULL" : `cause = ${quoted(cause)}` });
    if (!path) { list.replaceChildren(); n = 0; }
    next = nextPath(page);
    more.hidden = !next;
    for (const f of page.features) {
      n += 1;
      const p = f.properties, c = classOf(layer, p.cause);
      const measures = [p.stationing, p.area_m2 ? `${Math.round(p.area_m2).toLocaleString("en")} m²` : "", p.road_m ? `${Math.round(p.road_m)} m` : ""].filter(Boolean).join(" · ");
      list.append(el("li", {}, el("button", { type: "button", onclick: () => { show("coverage_gap"); openFeature("coverage_gap", f.id, { fly: true }); } },
        el("b", {}, String(p.rank ?? n)), el("span", {}, p.name_zh || shown(layer.field.get("target_kind"), p.target_kind) || f.id.slice(0, 8), el("br"), el("small", {}, both(c.zh, c.en), measures ? ` · ${measures}` : "")), el("i", { class: "chip", style: `background:${c.color}` }))));
    }
  }
  async function tally() {
    const rows = await Promise.all(layer.classes.map(async (c) => ({ ...c, label: both(c.zh, c.en), n: await count("coverage_gap", { filter: c.key === "" ? "cause IS NULL" : `cause = ${quoted(c.key)}` }) })));
    const draw = () => causes.replaceChildren(bars(rows.filter((row) => row.n).map((row) => ({ ...row, label: both(row.zh, row.en) })), (row) => { cause = cause === row.key ? null : row.key; draw(); load(null); }, cause));
    draw();
  }
  more.addEventListener("click", () => load(next));
  tally();
  load(null);
  return el("div", {}, el("h2", { class: "title" }, both("缺口及原因", "Gaps and their causes")), causes, el("p", { class: "note" }, both("单击原因筛选，单击缺口前往。", "Click a cause to filter, a gap to fly there.")), list, more);
}

async function proposals() {
  const layer = catalogue.layers.get("site_proposal"), page = await items("site_proposal", { sortby: "+rank", limit: 200, skipGeometry: true });
  const list = el("ol", { class: "ranked" }, page.features.map((f) => el("li", {}, el("button", { type: "button", onclick: () => { show("site_proposal"); openFeature("site_proposal", f.id, { fly: true }); } }, el("b", {}, String(f.properties.rank ?? "")), el("span", {}, shown(layer.field.get("ptz_type"), f.properties.ptz_type) || nameOf(layer, f.properties, f.id)), el("small", {}, [shown(layer.field.get("gain_m2"), f.properties.gain_m2), shown(layer.field.get("cost"), f.properties.cost)].filter(Boolean).join(" · "))))));
  return el("div", {}, el("h2", { class: "title" }, both("点位建议", "Site proposals")), list);
}

export async function plannerPanel() {
  const panel = el("section");
  if (hasData("coverage_by_grid")) panel.append(choropleth());
  if (hasData("coverage_gap")) panel.append(gaps());
  if (hasData("site_proposal")) panel.append(await proposals());
  if (!panel.children.length) panel.append(el("p", {}, both("还没有分析结果：先运行 baige coverage run。", "There are no results yet: run 'baige coverage run' first.")));
  labelled(panel);
  return panel;
}
