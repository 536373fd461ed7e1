// The planner's panel: choropleth of coverage, gaps ranked with their cause, proposals.
import { both, download, el, labelled, lang, option, said, tell } from "./dom.js";
import { ask, askJSON, count, items, nextPath, quoted } from "./server.js";
import { catalogue, classOf, hasData, nameOf, shown } from "./catalogue.js";
import { renewTiles } from "./map.js";
import { headingOf, legendInForce, paintCoverage, tallyOf, valuesOf } from "./painting.js";
import { show } from "./layers.js";
import { openFeature } from "./detail.js";
import { bars } from "./tools.js";
import { runJob } from "./jobs.js";
import { takeProposal } from "./plan-panel.js";
import { keepState, state } from "./state.js";

const PAGE = 12, WORST = 6;

// What the units can be coloured by: shares of the coverage, and every other layer of results or places counted, summed or averaged.
function metrics() {
  const own = catalogue.layers.get("coverage_by_grid"), groups = [el("optgroup", { "data-label-zh": own.zh, "data-label-en": own.en }, own.fields.filter((field) => field.share).map((f) => option(f.name, f.zh, f.en, f.name === state.metric)))];
  const others = [...catalogue.layers.values()].filter((layer) => layer.drawn && layer.count && layer.kind !== "base" && !["coverage_by_grid", "camera_view"].includes(layer.name));
  for (const layer of others.sort((a, b) => (b.kind === "result") - (a.kind === "result"))) {
    const numbers = layer.kind === "result" ? layer.fields.filter((f) => ["num", "int"].includes(f.type) && !f.terms && (f.unit || f.share) && !f.chainage) : [];
    const values = [`tally:${layer.name}:count`, `tally:${layer.name}:density`, ...numbers.map((f) => `tally:${layer.name}:${["m²", "m", "CNY"].includes(f.unit) ? "sum" : "mean"}:${f.name}`)];
    groups.push(el("optgroup", { "data-label-zh": layer.zh, "data-label-en": layer.en }, values.map((value) => option(value, ...headingOf(value), value === state.metric))));
  }
  return groups;
}

function choropleth() {
  const layer = catalogue.layers.get("coverage_by_grid"), worst = el("ol", { class: "ranked", id: "worst" }), about = el("p", { class: "note" }), legend = el("ul", { class: "legend", id: "painted" });
  state.metric ||= "online_overview";
  state.unit ||= "grid";
  const apply = async () => { show("coverage_by_grid"); keepState(); await paintCoverage(state.metric, state.unit); };
  const metric = el("select", { id: "metric", "data-label-zh": "指标", "data-label-en": "Measure", onchange: () => { state.metric = metric.value; apply(); rank(); } }, metrics());
  const unit = el("select", { id: "unit", "data-label-zh": "统计单元", "data-label-en": "Unit", onchange: () => { state.unit = unit.value; apply(); rank(); } }, Object.entries(layer.field.get("unit_kind").terms).map(([v, [zh, en]]) => option(v, zh, en, v === state.unit)));
  async function ranked() {
    const tally = tallyOf(state.metric);
    if (!tally) {
      const page = await items("coverage_by_grid", { filter: `unit_kind = ${quoted(state.unit)} AND ${state.metric} IS NOT NULL`, sortby: `+${state.metric}`, limit: WORST, skipGeometry: true });
      return page.features.map((f) => [f, shown(layer.field.get(state.metric), f.properties[state.metric])]);
    }
    const units = await valuesOf(tally, state.unit), field = catalogue.layers.get(tally.layer).field.get(tally.field);
    const most = Object.entries(units || {}).filter(([, value]) => value).sort(([, a], [, b]) => b - a).slice(0, WORST);
    if (!most.length) return [];
    const page = await items("coverage_by_grid", { ids: most.map(([id]) => id).join(","), skipGeometry: true }), byId = new Map(page.features.map((f) => [f.id, f]));
    return most.filter(([id]) => byId.has(id)).map(([id, value]) => [byId.get(id), shown(field || { type: "num" }, value)]);
  }
  let asked = 0;
  async function rank() {
    const mine = ++asked, rows = await ranked();
    if (mine !== asked) return;
    about.replaceChildren(tallyOf(state.metric) ? both("最高的单元：", "Highest units:") : both("最低的单元：", "Lowest units:"));
    worst.replaceChildren(...rows.map(([f, value], n) => el("li", {}, el("button", { type: "button", onclick: () => openFeature("coverage_by_grid", f.id, { fly: true }) }, el("b", {}, String(n + 1)), el("span", {}, nameOf(layer, f.properties, f.id)), el("small", {}, value)))));
  }
  const key = () => {
    const { classes } = legendInForce(layer);
    legend.replaceChildren(...(tallyOf(state.metric) ? classes : []).map((c) => el("li", {}, el("i", { class: "chip", style: `background:${c.color}` }), both(c.zh, c.en))));
  };
  document.addEventListener("baige:painted", key);
  key();
  rank();
  return el("div", {}, el("h2", { class: "title" }, both("专题图", "Thematic map")), el("div", { class: "row" }, metric, unit, el("button", { type: "button", onclick: apply }, both("在图上显示", "Show on the map"))), legend, about, worst);
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

function fill(list, layer, features) {
  list.replaceChildren(...features.map((f) => el("li", {}, el("button", { type: "button", onclick: () => { show("site_proposal"); openFeature("site_proposal", f.id, { fly: true }); } }, el("b", {}, String(f.properties.rank ?? "")), el("span", {}, shown(layer.field.get("ptz_type"), f.properties.ptz_type) || nameOf(layer, f.properties, f.id)), el("small", {}, [shown(layer.field.get("gain_m2"), f.properties.gain_m2), shown(layer.field.get("cost"), f.properties.cost)].filter(Boolean).join(" · "))))));
}

// Proposals by count or budget, with progress and cancel; taken over into the scenario that is open.
function proposals() {
  const layer = catalogue.layers.get("site_proposal"), list = el("ol", { class: "ranked", id: "proposals" }), job = el("div"), worth = el("p", { class: "note", id: "proposal-worth" });
  let features = [];
  async function load() {
    features = (await items("site_proposal", { sortby: "+rank", limit: 200 })).features;
    fill(list, layer, features);
    const sum = (name) => features.reduce((total, f) => total + (f.properties[name] || 0), 0);
    worth.replaceChildren(features.length ? both(`${features.length} 处，新增覆盖 ${shown(layer.field.get("gain_m2"), sum("gain_m2"))}，造价 ${shown(layer.field.get("cost"), sum("cost"))}`, `${features.length} sites, ${shown(layer.field.get("gain_m2"), sum("gain_m2"))} gained, ${shown(layer.field.get("cost"), sum("cost"))}`) : "");
    take.hidden = !features.length;
  }
  const by = el("select", { id: "proposal-by", "data-label-zh": "按数量或预算", "data-label-en": "By count or budget" }, option("count", "数量（台）", "Count"), option("budget", "预算（元）", "Budget (yuan)"));
  const amount = el("input", { type: "number", id: "proposal-amount", min: 1, value: 10, required: true, "data-label-zh": "数值", "data-label-en": "Value" });
  const form = el("form", { class: "row", onsubmit: async (event) => {
    event.preventDefault();
    start.disabled = true;
    const done = await runJob("propose-sites", { [by.value]: Number(amount.value) }, job);
    start.disabled = false;
    if (!done) return;
    show("site_proposal");
    renewTiles("site_proposal");
    await load();
  } }, by, amount);
  const start = el("button", { type: "submit", id: "propose" }, both("计算建议", "Propose"));
  form.append(start);
  const take = el("button", { type: "button", id: "take-proposals", hidden: true, onclick: async () => {
    let taken = 0;
    for (const f of features) if (await takeProposal(f.properties, f.geometry.coordinates)) taken += 1;
    if (taken) tell(`已将 ${taken} 处建议放入方案。`, `${taken} proposals are in the scenario.`);
  } }, both("全部放入当前方案", "Take all into the scenario"));
  load();
  return el("div", {}, el("h2", { class: "title" }, both("点位建议", "Site proposals")), form, job, worth, take, list);
}

// Ring, zones, grids and points of one layout, one level at a time or all, with the faults of its last check.
function layout() {
  const layer = catalogue.layers.get("layout_unit"), faultLayer = catalogue.layers.get("layout_fault"), faults = el("ol", { class: "ranked", id: "layout-faults" }), numbers = el("p", { class: "note" });
  const apply = () => {
    state.layout = which.value;
    state.level = choose.value;
    for (const name of ["layout_unit", "layout_fault"]) renewTiles(name);
    show("layout_unit");
    keepState();
    load();
  };
  const which = el("select", { id: "layout", "data-label-zh": "方案", "data-label-en": "Layout", onchange: apply }, option(state.layout || "", "现行", "Current"));
  const choose = el("select", { id: "level", "data-label-zh": "层级", "data-label-en": "Level", onchange: apply }, option("", "四级全部", "All four levels"), ...Object.entries(layer.field.get("level").terms).map(([v, [zh, en]]) => option(v, zh, en, v === state.level)));
  async function layouts() {
    const rings = await items("layout_unit", { filter: "level = 'ring' AND valid_to IS NULL", limit: 500, skipGeometry: true, sortby: "+layout,-version" });
    const newest = new Map();
    for (const { properties: p } of rings.features) if (!newest.has(p.layout)) newest.set(p.layout, p.version ?? 1);
    const named = [...newest].sort(([a], [b]) => (b === "current") - (a === "current") || a.localeCompare(b));
    const gone = state.layout && !named.some(([name, version]) => `${name}@${version}` === state.layout);
    if (gone) {
      // An older version is still there, only not the newest; anything else has been deleted.
      const [name, version] = state.layout.split("@"), kept = version ? await count("layout_unit", { filter: `layout = ${quoted(name)} AND version = ${Number(version) || 0}` }) : 0;
      if (kept) named.push([name, Number(version)]);
      else {
        tell(`链接中的布局“${name}”第 ${version || "?"} 版已不存在，改为显示现行布局。`, `The layout “${name}”, version ${version || "?"}, of this link no longer exists; the current one is shown.`, { bad: true, stay: true });
        state.layout = "";
        for (const layer of ["layout_unit", "layout_fault"]) renewTiles(layer);
        keepState();
      }
    }
    if (named.length) which.replaceChildren(...named.map(([name, version]) => {
      const value = `${name}@${version}`;
      return name === "current" ? option(value, `现行，第 ${version} 版`, `Current, version ${version}`, value === state.layout) : option(value, `${name}，第 ${version} 版`, `${name}, version ${version}`, value === state.layout);
    }));
    load();
  }
  async function load() {
    if (!faultLayer) return;
    const [name, version] = (which.value || "current@").split("@");
    const filter = [`layout = ${quoted(name)}`, version ? `version = ${Number(version)}` : "", choose.value ? `level = ${quoted(choose.value)}` : ""].filter(Boolean).join(" AND ");
    const page = await items("layout_fault", { filter, limit: 60, skipGeometry: true, sortby: "+severity" });
    numbers.replaceChildren(both(`问题 ${page.numberMatched ?? "?"} 处，错误在前。`, `${page.numberMatched ?? "?"} faults, errors first.`));
    faults.replaceChildren(...page.features.map((f) => el("li", {}, el("button", { type: "button", onclick: () => { show("layout_fault"); openFeature("layout_fault", f.id, { fly: true }); } }, el("i", { class: "chip", style: `background:${classOf(faultLayer, f.properties[faultLayer.by]).color}` }), el("span", {}, said(f.properties.note_zh, f.properties.note_en) || f.properties.fault_kind), el("small", {}, f.properties.unit_code || "")))));
  }
  layouts();
  return el("div", {}, el("h2", { class: "title" }, both("布局：圈、片、格、点", "Layout: ring, zones, grids, points")), el("div", { class: "row" }, which, choose, el("button", { type: "button", onclick: apply }, both("在图上显示", "Show on the map"))), numbers, faults);
}

function report() {
  const job = el("div"), area = el("input", { id: "report-area", size: 13, pattern: "[0-9]{2,12}", "data-hint-zh": "区划代码（可空）", "data-hint-en": "Area code, or empty", "data-label-zh": "区划代码", "data-label-en": "Area code" });
  return el("div", {}, el("h2", { class: "title" }, both("报告", "Report")), el("form", { class: "row", onsubmit: async (event) => {
    event.preventDefault();
    const done = await runJob("report", { lang: lang(), ...(area.value ? { area: area.value } : {}) }, job);
    if (done) download("baige-report.pdf", await (await ask(`/jobs/${done.job}/results`)).blob());
  } }, area, el("button", { type: "submit", id: "report" }, both("生成 PDF", "Make the PDF"))), job);
}

export async function plannerPanel() {
  const panel = el("section"), analyst = ["planner", "admin"].includes(catalogue.role);
  if (hasData("coverage_by_grid")) panel.append(choropleth());
  if (hasData("coverage_gap")) panel.append(gaps());
  if (analyst && catalogue.layers.has("site_proposal")) panel.append(proposals());
  if (hasData("layout_unit")) panel.append(layout());
  if (analyst && hasData("coverage_by_grid")) panel.append(report());
  if (!panel.children.length) panel.append(el("p", {}, both("还没有分析结果：先运行 baige coverage run。", "There are no results yet: run 'baige coverage run' first.")));
  labelled(panel);
  return panel;
}
