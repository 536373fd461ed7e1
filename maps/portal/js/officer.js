// The officer's panel: outfalls by class, stage and state, overdue inspections, watch, findings of the rules.
import { both, el, labelled, option } from "./dom.js";
import { askJSON, count, items, nextPath, quoted } from "./server.js";
import { catalogue, classOf, hasData, nameOf, shown } from "./catalogue.js";
import { openFeature } from "./detail.js";
import { show } from "./layers.js";
import { bars } from "./tools.js";

const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1"], UNKNOWN = "#9e9e9e", PAGE = 30;
const FIELDS = ["cat1", "discharge_state", "workflow_stage", "approval_kind"];
const today = () => new Date().toISOString().slice(0, 10);

function list(name, parameters, describe) {
  const layer = catalogue.layers.get(name), found = el("ul", { class: "plain" }), more = el("button", { type: "button", hidden: true }, both("更多", "More")), number = el("span", { class: "count" });
  let next = null;
  async function load(path) {
    const page = path ? await askJSON(path) : await items(name, { ...parameters(), limit: PAGE, skipGeometry: true });
    if (!path) found.replaceChildren();
    number.textContent = page.numberMatched === undefined ? "" : String(page.numberMatched);
    next = nextPath(page);
    more.hidden = !next;
    for (const f of page.features) {
      found.append(el("li", {}, el("button", { type: "button", onclick: () => { show(name); openFeature(name, f.id, { fly: true }); } }, el("i", { class: "chip", style: `background:${classOf(layer, f.properties[layer.by]).color}` }), el("span", {}, nameOf(layer, f.properties, f.id)), el("small", {}, describe(f.properties, layer)))));
    }
    if (!found.children.length) found.append(el("li", { class: "note" }, both("没有", "None")));
  }
  more.addEventListener("click", () => load(next));
  load(null);
  return { box: el("div", {}, found, more), number, reload: () => load(null) };
}

function outfalls() {
  const layer = catalogue.layers.get("outfall"), fields = FIELDS.map((name) => layer.field.get(name)).filter(Boolean), chart = el("div");
  let field = fields[0], picked = null;
  const choose = el("select", { "data-label-zh": "按字段统计", "data-label-en": "Count by", onchange: () => { field = layer.field.get(choose.value); picked = null; tally(); shownList.reload(); } }, fields.map((f) => option(f.name, f.zh, f.en)));
  const condition = () => (picked === null ? "" : picked === "" ? `${field.name} IS NULL` : `${field.name} = ${field.integer ? picked : quoted(picked)}`);
  const shownList = list("outfall", () => ({ filter: condition(), sortby: "+chainage_m" }), (p, l) => [shown(l.field.get("chainage_m"), p.chainage_m), shown(l.field.get(field.name), p[field.name])].filter(Boolean).join(" · "));
  async function tally() {
    const declared = new Map(field.name === layer.by ? layer.classes.map((c) => [c.key, c.color]) : []);
    const entries = [...Object.entries(field.terms).map(([key, [zh, en]], n) => ({ key, zh, en, color: declared.get(key) || (key === "-1" ? UNKNOWN : PALETTE[n % PALETTE.length]) })), { key: "", zh: "未填", en: "Not filled in", color: UNKNOWN }];
    const of = field;
    const rows = await Promise.all(entries.map(async (entry) => ({ ...entry, n: await count("outfall", { filter: entry.key === "" ? `${of.name} IS NULL` : `${of.name} = ${of.integer ? entry.key : quoted(entry.key)}` }) })));
    if (of !== field) return;
    const draw = () => chart.replaceChildren(bars(rows.filter((row) => row.n).map((row) => ({ ...row, label: both(row.zh, row.en) })), (row) => { picked = picked === row.key ? null : row.key; draw(); shownList.reload(); }, picked));
    draw();
  }
  tally();
  return el("div", {}, el("h2", { class: "title" }, both("入河排污口", "Outfalls"), " ", shownList.number), el("div", { class: "row" }, choose), chart, shownList.box);
}

function overdue() {
  const found = list("outfall", () => ({ filter: `inspect_due < DATE(${quoted(today())})`, sortby: "+inspect_due" }), (p, l) => shown(l.field.get("inspect_due"), p.inspect_due));
  return el("details", {}, el("summary", {}, both("逾期未巡查", "Overdue inspections"), " ", found.number), found.box);
}

function watch() {
  const found = list("outfall_watch", () => ({ filter: "watch_state <> 'watched'", sortby: "-watch_state" }), (p, l) => shown(l.field.get("watch_state"), p.watch_state));
  return el("details", {}, el("summary", {}, both("值守不足的排污口", "Outfalls not watched well"), " ", found.number), found.box);
}

function findings() {
  const layer = catalogue.layers.get("rule_finding");
  let verdict = "";
  const choose = el("select", { "data-label-zh": "结论", "data-label-en": "Verdict", onchange: () => { verdict = choose.value; found.reload(); } }, [option("", "全部结论", "All verdicts"), ...Object.entries(layer.field.get("verdict").terms).map(([v, [zh, en]]) => option(v, zh, en))]);
  const found = list("rule_finding", () => ({ filter: verdict ? `verdict = ${quoted(verdict)}` : "", sortby: "+rule_id" }), (p) => [p.rule_id, p.article, p.distance_m === null || p.distance_m === undefined ? "" : `${Math.round(p.distance_m)} m`].filter(Boolean).join(" · "));
  return el("div", {}, el("h2", { class: "title" }, both("规则核查发现", "Rule findings"), " ", found.number), el("p", { class: "note" }, both("供人工判断，不是处罚依据。", "For a person to judge; not a ground for penalties.")), choose, found.box);
}

export async function officerPanel() {
  const panel = el("section");
  if (hasData("outfall")) panel.append(outfalls(), overdue());
  if (hasData("outfall_watch")) panel.append(watch());
  if (hasData("rule_finding")) panel.append(findings());
  if (!panel.children.length) panel.append(el("p", {}, both("当前角色看不到排污口；请输入密钥。", "Your role sees no outfalls; enter an access key.")));
  labelled(panel);
  return panel;
}
