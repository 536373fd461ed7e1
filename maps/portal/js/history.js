// States of the past: a slider over what was recorded when, and a swipe between two moments, such as two runs, with their numbers.
import { both, byId, el, labelled, option, said, tell } from "./dom.js";
import { askJSON, items, quoted } from "./server.js";
import { catalogue, nameOf, shown } from "./catalogue.js";
import { keepFluid } from "./fluid.js";
import { map, ownLetters, tilesOf } from "./map.js";
import { headers } from "./server.js";
import { runJob } from "./jobs.js";
import { comparisonTable } from "./plan-panel.js";
import { plan, readScenarios } from "./plan-store.js";
import { sectorsOn } from "./sectors.js";
import { drawSide, labelOf, sceneOf, scenarioOf, sideOf, styleWith } from "./swipe-plan.js";
import { keepState, state } from "./state.js";

const STEPS = 1000, NOW = "now";
let runs = [], other = null, at = 50, open = false, place = null;

const timeOf = (text) => (scenarioOf(text) ? labelOf(scenarioOf(text)) : text && text !== NOW ? String(text).slice(0, 19).replace("T", " ") : said("现在", "now"));
const past = (name) => catalogue.layers.get(name) && catalogue.layers.get(name).kind !== "base";

// All layers but the base map as they were recorded at that moment; empty for now.
export async function showAsOf(moment) {
  state.asof = moment;
  for (const name of state.on || []) if (past(name)) map.getSource(name)?.setTiles(tilesOf(name));
  keepState();
  draw();
  await side();
}

const sceneAt = async (value) => (scenarioOf(value) ? sceneOf(scenarioOf(value)) : null);

// The scenario of the left side, or none.
async function side() {
  const wanted = state.asof, scene = await sceneAt(wanted);
  if (state.asof === wanted) drawSide(map, scene);
}

async function readRuns() {
  if (catalogue.layers.has("camera_plan") && ["planner", "admin"].includes(catalogue.role)) await readScenarios();
  const found = await askJSON("/records?type=analysis-run&limit=500").catch((error) => { if (error.status === undefined) throw error; return { features: [] }; });
  runs = found.features.map((f) => ({ id: f.id.slice(4), kind: f.properties.keywords[0], title: f.properties.title, at: new Date(f.properties.created).toISOString() })).sort((a, b) => a.at.localeCompare(b.at));
}

// The style of the map with the sources of layers as they were at another moment, or with a scenario.
async function styleAt(moment) {
  const scene = await sceneAt(moment), style = styleWith(structuredClone(map.getStyle()), scene);
  if (style.sources.sectors) style.sources.sectors.data = { type: "FeatureCollection", features: [] };
  for (const name of Object.keys(style.sources)) if (style.sources[name].type === "vector") style.sources[name].tiles = tilesOf(name, moment === NOW ? "" : moment);
  return style;
}

export const otherMap = () => other;
const follow = () => other?.jumpTo({ center: map.getCenter(), zoom: map.getZoom(), bearing: map.getBearing(), pitch: map.getPitch() });

function clip() {
  const line = byId("divider");
  byId("map-b").style.clipPath = `inset(0 0 0 ${at}%)`;
  line.style.left = `${at}%`;
  line.setAttribute("aria-valuenow", String(Math.round(at)));
  line.replaceChildren(el("span", { class: "a" }, timeOf(state.asof)), el("span", { class: "b" }, timeOf(state.swipe)));
}

export async function swipe(moment) {
  state.swipe = moment;
  keepState();
  byId("map-b").hidden = byId("divider").hidden = !moment;
  if (!moment) { other?.remove(); other = null; draw(); return; }
  const style = await styleAt(moment);
  if (state.swipe !== moment) return;
  if (other) other.setStyle(style, { diff: true });
  else {
    other = new maplibregl.Map({
      container: "map-b", style, center: map.getCenter(), zoom: map.getZoom(), interactive: false, attributionControl: false, fadeDuration: 0, maxZoom: 20,
      localIdeographFontFamily: '"Noto Sans CJK SC", "Microsoft YaHei", sans-serif', canvasContextAttributes: { preserveDrawingBuffer: true, antialias: false },
      transformRequest: (url) => ({ url, headers: headers(), credentials: "same-origin" }),
    });
    ownLetters(other);
    keepFluid(other);
    sectorsOn(other);
  }
  clip();
  draw();
}

// Sums of the districts and the number of gaps at a moment.
async function figuresAt(moment) {
  const asof = moment && moment !== NOW ? { "as-of": moment } : {};
  const page = await items("coverage_by_grid", { filter: `unit_kind = ${quoted("county")}`, limit: 500, skipGeometry: true, ...asof });
  const gaps = await items("coverage_gap", { limit: 1, skipGeometry: true, ...asof });
  return { rows: new Map(page.features.map((f) => [f.properties.admin_code || f.properties.grid_code, f])), gaps: gaps.numberMatched ?? null };
}

// Two scenarios, or the register as it is and a scenario, are compared by a job for the whole city.
async function compareScenarios() {
  const job = el("div"), result = el("div");
  place(el("section", {}, el("h2", { class: "title" }, both("方案对比", "Scenarios compared")), el("p", { class: "note" }, `${timeOf(state.asof)} → ${timeOf(state.swipe)}`), job, result));
  const done = await runJob("compare-scenario", { scenario: scenarioOf(state.swipe), mode: "fast", ...(scenarioOf(state.asof) ? { base: scenarioOf(state.asof) } : {}) }, job);
  if (done) result.replaceChildren(comparisonTable((await done.result()).result));
}

async function compare() {
  if (scenarioOf(state.swipe)) { await compareScenarios(); return; }
  tell("正在对比……", "Comparing…", { stay: true });
  const layer = catalogue.layers.get("coverage_by_grid"), [a, b] = await Promise.all([figuresAt(state.asof), figuresAt(state.swipe)]);
  const metric = state.metric || "online_overview", field = layer.field.get(metric);
  const step = (x, y) => (typeof x === "number" && typeof y === "number" ? `${y > x ? "+" : ""}${shown(field, y - x)}` : "");
  tell("", "");
  place(el("section", {}, el("h2", { class: "title" }, both("两个时刻的对比", "Two moments compared")),
    el("p", { class: "note" }, `${timeOf(state.asof)} → ${timeOf(state.swipe)} · `, both(field.zh, field.en)),
    el("table", { class: "facts numbers" }, el("thead", {}, el("tr", {}, el("th"), ...[["左", "Left"], ["右", "Right"], ["差", "Change"]].map(([zh, en]) => el("th", { scope: "col" }, both(zh, en))))),
      el("tbody", {}, [...new Set([...a.rows.keys(), ...b.rows.keys()])].map((code) => {
        const old = a.rows.get(code)?.properties, now = b.rows.get(code)?.properties;
        return el("tr", {}, el("th", { scope: "row" }, nameOf(layer, now || old, code)), el("td", {}, shown(field, old?.[metric])), el("td", {}, shown(field, now?.[metric])), el("td", {}, step(old?.[metric], now?.[metric])));
      }), el("tr", {}, el("th", { scope: "row" }, both("缺口（处）", "Gaps")), el("td", {}, String(a.gaps ?? "?")), el("td", {}, String(b.gaps ?? "?")), el("td", {}, a.gaps === null || b.gaps === null ? "" : `${b.gaps > a.gaps ? "+" : ""}${b.gaps - a.gaps}`)))),
    el("p", { class: "note" }, both("空白为无数据，不是零。", "Blank means no data, not zero."))));
}

// A scenario is a change to the register as it is now: it has no numbers for the past, and stands on the right.
const comparable = () => Boolean(state.swipe) && (scenarioOf(state.swipe) ? !state.asof || Boolean(scenarioOf(state.asof)) : !scenarioOf(state.asof) && catalogue.layers.has("coverage_by_grid"));

function draw() {
  const bar = byId("history");
  bar.hidden = !open;
  if (other) clip();
  if (!open) return;
  const end = Date.now(), first = Math.min(...runs.map((run) => Date.parse(run.at)), end - 86400000) - 60000;
  const position = state.asof && !scenarioOf(state.asof) ? Math.round(STEPS * (Date.parse(state.asof) - first) / (end - first)) : STEPS;
  const label = el("output", { class: "count", id: "asof" }, timeOf(state.asof));
  const momentAt = (value) => (Number(value) >= STEPS ? "" : new Date(first + (end - first) * value / STEPS).toISOString());
  const slider = el("input", { type: "range", min: 0, max: STEPS, value: position, id: "moment", "data-label-zh": "历史时刻", "data-label-en": "Moment of the past", oninput: () => { label.textContent = timeOf(momentAt(slider.value)); }, onchange: () => showAsOf(momentAt(slider.value)) });
  const names = { coverage: ["覆盖计算", "Coverage"], "propose-sites": ["点位建议", "Proposals"], "layout-plan": ["布局规划", "Layout plan"], "layout-check": ["布局检查", "Layout check"], "grid-numbers": ["网格编码", "Cell codes"], rules: ["规则核查", "Rules"], "camera-views": ["可视范围", "Views"], scenario: ["方案对比", "Scenario"], gaps: ["缺口", "Gaps"] };
  const choices = (id, value, none, change) => {
    const box = el("select", { id, "data-label-zh": id === "run-a" ? "左侧时刻" : "右侧时刻", "data-label-en": id === "run-a" ? "Moment on the left" : "Moment on the right", onchange: () => change(box.value) }, option("", ...none, !value), ...(id === "swipe-b" ? [option(NOW, "现在", "now", value === NOW)] : []),
      ...plan.names.map(({ name }) => option(sideOf(name), `方案 ${name}`, `Scenario ${name}`, value === sideOf(name))),
      ...[...runs].reverse().map((run) => { const [zh, en] = names[run.kind] || [run.kind, run.kind], when = timeOf(run.at); return option(run.at, `${zh} ${when}`, `${en} ${when}`, run.at === value); }),
      ...(scenarioOf(value) && !plan.names.some(({ name }) => name === scenarioOf(value)) ? [option(value, timeOf(value), timeOf(value), true)] : []),
      ...(value && value !== NOW && !scenarioOf(value) && !runs.some((run) => run.at === value) ? [option(value, timeOf(value), timeOf(value), true)] : []));
    return box;
  };
  bar.replaceChildren(el("div", { class: "row" }, el("label", { for: "moment" }, both("历史", "History")), slider, label),
    el("div", { class: "row" }, choices("run-a", state.asof, ["现在", "now"], showAsOf), "⇔", choices("swipe-b", state.swipe, ["不对比", "no swipe"], swipe),
      el("button", { type: "button", id: "compare", disabled: !comparable(), onclick: compare }, both("数字对比", "Numbers"))));
  labelled(bar);
}

export async function setUpHistory(where) {
  place = where;
  const button = el("button", { type: "button", id: "history-tool", "aria-pressed": "false", onclick: async () => {
    open = !open;
    button.setAttribute("aria-pressed", String(open));
    if (open && !runs.length) await readRuns();
    draw();
  } }, both("历史与对比", "History"));
  byId("tools").append(button);
  const line = byId("divider");
  const move = (event) => { const frame = byId("stage").getBoundingClientRect(); at = Math.min(97, Math.max(3, 100 * (event.clientX - frame.left) / frame.width)); clip(); };
  line.addEventListener("pointerdown", (event) => { line.setPointerCapture(event.pointerId); line.addEventListener("pointermove", move); });
  line.addEventListener("pointerup", () => line.removeEventListener("pointermove", move));
  line.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -4, ArrowRight: 4 }[event.key];
    if (step) { at = Math.min(97, Math.max(3, at + step)); clip(); }
  });
  map.on("move", follow);
  map.on("resize", () => { other?.resize(); follow(); });
  document.addEventListener("baige:layers", async () => {
    if (scenarioOf(state.asof)) await side();
    if (other) { const style = await styleAt(state.swipe); other?.setStyle(style, { diff: true }); }
  });
  document.addEventListener("baige:language", draw);
  if (state.asof || state.swipe) {
    await readRuns();
    open = true;
    button.setAttribute("aria-pressed", "true");
    draw();
    if (scenarioOf(state.asof)) await side();
    if (state.swipe) await swipe(state.swipe);
  }
}
