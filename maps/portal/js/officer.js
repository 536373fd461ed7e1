// The officer's panel: outfalls by state, class and stage, what is overdue, who watches, a rectangle, a workbook, findings of the rules.
import { both, byId, download, el, labelled, option, said, tell } from "./dom.js";
import { ask, askJSON, items, nextPath, quoted } from "./server.js";
import { catalogue, classOf, hasData, nameOf, shown, stationing } from "./catalogue.js";
import { openFeature } from "./detail.js";
import { show } from "./layers.js";
import { map } from "./map.js";
import { drawStates, STATES, stateIcon } from "./states.js";
import { firstReading, known, readOutfalls } from "./outfalls.js";
import { clearRectangle, drawRectangle } from "./rectangle.js";
import { records } from "./queue.js";
import { distance } from "./tools.js";

const PAGE = 40, NOT_WATCHED = ["offline", "unwatched", "possible"];
const filter = { state: null, overdue: false, unwatched: false, cat1: "", workflow_stage: "", words: "", box: null, sort: "due", onMap: true, here: null };

function matching() {
  const words = filter.words.trim().toLowerCase();
  const inBox = (row) => !filter.box || (row.lon >= filter.box[0] && row.lon <= filter.box[2] && row.lat >= filter.box[1] && row.lat <= filter.box[3]);
  return known.rows.filter((row) => (filter.state === null || row.state === filter.state) && (!filter.overdue || row.days_overdue > 0) && (!filter.unwatched || NOT_WATCHED.includes(row.watch_state))
    && (!filter.cat1 || row.cat1 === filter.cat1) && (!filter.workflow_stage || row.workflow_stage === filter.workflow_stage) && inBox(row)
    && (!words || [row.name_zh, row.name_en, row.code, row.responsible_org].some((text) => text?.toLowerCase().includes(words))));
}

function sorted(rows) {
  if (filter.sort === "near" && filter.here) return rows.map((row) => ({ ...row, away: distance(filter.here, [row.lon, row.lat]) })).sort((a, b) => a.away - b.away);
  if (filter.sort === "chainage") return [...rows].sort((a, b) => String(a.receiving_water).localeCompare(String(b.receiving_water), "zh") || (a.chainage_m ?? 1e12) - (b.chainage_m ?? 1e12));
  if (filter.sort === "name") return [...rows].sort((a, b) => nameOf(layerOf(), a, a.id).localeCompare(nameOf(layerOf(), b, b.id), "zh"));
  return rows; // as the server gives them: the most overdue first
}

const layerOf = () => catalogue.layers.get("outfall");

function described(row) {
  if (row.away !== undefined) return row.away < 1000 ? `${Math.round(row.away)} m` : `${(row.away / 1000).toFixed(1)} km`;
  if (row.days_overdue > 0) return both(`逾期 ${row.days_overdue} 天`, `${row.days_overdue} days overdue`);
  return typeof row.chainage_m === "number" ? stationing(row.chainage_m) : "";
}

function outfalls() {
  const layer = layerOf(), head = el("div", { id: "officer-counts" }), note = el("p", { class: "note", id: "officer-note" }), list = el("ul", { class: "plain", id: "outfalls" }), number = el("span", { class: "count", id: "officer-number" });
  const more = el("button", { type: "button", hidden: true, onclick: () => { length += PAGE; drawList(); } }, both("更多", "More"));
  let length = PAGE;
  const toggle = (pressed, content, n, go, id) => el("button", { type: "button", class: "tally", id, "aria-pressed": String(pressed), onclick: go }, content, el("b", {}, n.toLocaleString("en")));
  const changed = () => { length = PAGE; draw(); };

  function drawCounts() {
    const rows = known.rows, count = (test) => rows.filter(test).length;
    head.replaceChildren(
      el("div", { class: "tallies", role: "group", "data-label-zh": "排放状态", "data-label-en": "Discharge state" }, STATES.map((look) => toggle(filter.state === look.value, el("span", { class: "row" }, stateIcon(look.value), both(look.zh, look.en)), count((row) => row.state === look.value), () => { filter.state = filter.state === look.value ? null : look.value; changed(); }, `state-${look.value}`))),
      el("div", { class: "tallies" }, toggle(filter.overdue, both("逾期未巡查", "Overdue"), count((row) => row.days_overdue > 0), () => { filter.overdue = !filter.overdue; changed(); }, "only-overdue"),
        toggle(filter.unwatched, both("无可靠值守", "Not surely watched"), count((row) => NOT_WATCHED.includes(row.watch_state)), () => { filter.unwatched = !filter.unwatched; changed(); }, "only-unwatched")));
    labelled(head);
  }

  function drawList() {
    const rows = sorted(matching());
    number.textContent = `${rows.length} / ${known.rows.length}`;
    list.replaceChildren(...rows.slice(0, length).map((row) => el("li", {}, el("button", { type: "button", onclick: () => { show("outfall"); openFeature("outfall", row.id, { fly: true }); } }, stateIcon(row.state), el("span", {}, nameOf(layer, row, row.id)), el("small", { class: row.days_overdue > 0 ? "bad" : "" }, described(row))))));
    if (!rows.length) list.append(el("li", { class: "note" }, both("没有符合条件的排污口。", "No outfall meets the conditions.")));
    more.hidden = rows.length <= length;
    const rule = known.rule?.interval_days || {};
    note.replaceChildren(known.offline ? both(`离线：${new Date(known.at).toLocaleString("zh-CN")} 的资料`, `Offline: as of ${new Date(known.at).toLocaleString("en-GB")}`) : both(`按 ${known.day} 统计`, `As of ${known.day}`),
      both(`；巡查间隔 ${rule.default ?? "?"} 天${rule.industrial ? `（工业 ${rule.industrial} 天）` : ""}，状态 ${known.rule?.state_valid_days ?? "?"} 天内有效`, `; inspected every ${rule.default ?? "?"} days${rule.industrial ? ` (industrial ${rule.industrial})` : ""}, a state holds ${known.rule?.state_valid_days ?? "?"} days`));
    if (filter.onMap) drawStates(rows.map((row) => ({ type: "Feature", geometry: { type: "Point", coordinates: [row.lon, row.lat] }, properties: { id: row.id, name_zh: row.name_zh, name_en: row.name_en, state: row.state, days_overdue: row.days_overdue } })));
  }
  const draw = () => { drawCounts(); drawList(); };
  const choose = (field) => el("select", { "data-label-zh": layer.field.get(field).zh, "data-label-en": layer.field.get(field).en, id: `by-${field}`, onchange: (event) => { filter[field] = event.target.value; changed(); } },
    option("", `${layer.field.get(field).zh}：全部`, `${layer.field.get(field).en}: all`), Object.entries(layer.field.get(field).terms).map(([value, [zh, en]]) => option(value, zh, en, filter[field] === value)));
  const sort = el("select", { id: "officer-sort", "data-label-zh": "排序", "data-label-en": "Order", onchange: () => { filter.sort = sort.value; if (sort.value === "near") locate(); else draw(); } },
    [["due", "先逾期", "Overdue first"], ["chainage", "按桩号", "By chainage"], ["name", "按名称", "By name"], ["near", "离我最近", "Nearest to me"]].map(([v, zh, en]) => option(v, zh, en, filter.sort === v)));
  function locate() {
    if (!navigator.geolocation || !isSecureContext) { tell("浏览器只在 https 下提供位置。", "The browser gives a position over https only.", { bad: true }); return; }
    navigator.geolocation.getCurrentPosition(({ coords }) => { filter.here = [coords.longitude, coords.latitude]; draw(); }, () => tell("无法取得位置。", "No position to be had.", { bad: true }), { enableHighAccuracy: true, timeout: 15000 });
  }
  const day = el("input", { type: "date", id: "officer-day", max: new Date().toISOString().slice(0, 10), value: known.day, onchange: async () => { if (day.value) { await readOutfalls(day.value); draw(); } } });
  const area = el("button", { type: "button", id: "officer-box", "aria-pressed": String(Boolean(filter.box)), onclick: async () => {
    if (filter.box) { filter.box = null; clearRectangle(); } else {
      if (matchMedia("(max-width: 760px)").matches && !document.body.classList.contains("folded")) byId("fold").click();
      filter.box = await drawRectangle();
    }
    area.setAttribute("aria-pressed", String(Boolean(filter.box)));
    changed();
  } }, both("矩形", "Rectangle"));
  const view = el("button", { type: "button", id: "officer-view", onclick: () => { const b = map.getBounds(); filter.box = [b.getWest(), b.getSouth(), b.getEast(), b.getNorth()]; area.setAttribute("aria-pressed", "true"); changed(); } }, both("当前视图", "This view"));
  const excel = el("button", { type: "button", id: "officer-excel", onclick: async () => {
    const rows = matching();
    const all = rows.length === known.rows.length, query = new URLSearchParams({ day: known.day, lang: said("zh", "en") });
    if (!all && rows.length <= 1000) query.set("ids", rows.map((row) => row.id).join(","));
    if (!rows.length) { tell("没有可导出的排污口。", "There is no outfall to write."); return; }
    const answer = await ask(`/portal/outfalls.xlsx?${query}`);
    download(`${said("排污口", "outfalls")}-${known.day}.xlsx`, await answer.blob());
  } }, "Excel");
  const onMap = el("input", { type: "checkbox", id: "officer-map", onchange: () => { filter.onMap = onMap.checked; if (filter.onMap) drawList(); else drawStates(null); } });
  onMap.checked = filter.onMap;
  document.addEventListener("baige:recorded", async () => { if (!(await records()).length) { await readOutfalls().catch(() => {}); draw(); } });
  draw();
  return el("div", { class: "stack" }, el("h2", { class: "title" }, both("入河排污口", "Outfalls"), " ", number), el("div", { class: "row" }, el("label", { for: "officer-day" }, both("时点", "As of")), day, el("label", { for: "officer-map" }, onMap, " ", both("图上显示状态", "States on the map"))), head,
    el("div", { class: "row" }, choose("cat1"), choose("workflow_stage")),
    el("div", { class: "row" }, el("input", { type: "search", id: "officer-words", value: filter.words, "data-label-zh": "名称、编码或单位", "data-label-en": "Name, code or organisation", "data-hint-zh": "名称、编码或单位", "data-hint-en": "Name, code, organisation", oninput: (event) => { filter.words = event.target.value; length = PAGE; drawList(); } }), sort),
    el("div", { class: "row" }, area, view, excel), note, list, more);
}

function paged(name, parameters, describe) {
  const layer = catalogue.layers.get(name), found = el("ul", { class: "plain" }), more = el("button", { type: "button", hidden: true }, both("更多", "More")), number = el("span", { class: "count" });
  let next = null;
  async function load(path) {
    const page = path ? await askJSON(path) : await items(name, { ...parameters(), limit: 30, skipGeometry: true });
    if (!path) found.replaceChildren();
    number.textContent = page.numberMatched === undefined ? "" : String(page.numberMatched);
    next = nextPath(page);
    more.hidden = !next;
    found.append(...page.features.map((f) => el("li", {}, el("button", { type: "button", onclick: () => { show(name); openFeature(name, f.id, { fly: true }); } }, layer.classes.length > 1 ? el("i", { class: "chip", style: `background:${classOf(layer, f.properties[layer.by]).color}` }) : el("span", { class: "intake", "aria-hidden": "true" }, "◆"), el("span", {}, nameOf(layer, f.properties, f.id)), el("small", {}, describe(f.properties, layer))))));
    if (!found.children.length) found.append(el("li", { class: "note" }, both("没有", "None")));
  }
  const failed = () => found.replaceChildren(el("li", { class: "note bad" }, both("未能读取", "Could not be read")));
  more.addEventListener("click", () => load(next).catch(failed));
  const reload = () => load(null).catch(failed);
  return { box: el("div", {}, found, more), number, reload };
}

// Read when it is opened first: most visits do not need it.
function folded(summary, part, ...above) {
  const made = el("details", { ontoggle: () => { if (made.open && !made.dataset.read) { made.dataset.read = "yes"; part.reload(); } } }, el("summary", {}, summary, " ", part.number), ...above, part.box);
  return made;
}

function intakes() {
  return folded(both("取水口（上游排污口）", "Intakes (outfalls upstream)"), paged("water_intake", () => ({ sortby: "+chainage_m" }), (p) => (typeof p.chainage_m === "number" ? stationing(p.chainage_m) : "")));
}

function findings() {
  const layer = catalogue.layers.get("rule_finding"), asked = { verdict: "", mine: true };
  const condition = () => [asked.verdict ? `verdict = ${quoted(asked.verdict)}` : "", asked.mine ? "object_layer IN ('outfall', 'pollution_source', 'key_area')" : ""].filter(Boolean).join(" AND ");
  const found = paged("rule_finding", () => ({ filter: condition(), sortby: "+rule_id" }), (p) => [p.rule_id, p.article, typeof p.distance_m === "number" ? `${Math.round(p.distance_m)}${typeof p.accuracy_m === "number" ? ` ± ${Math.round(p.accuracy_m)}` : ""} m` : "", p.waived ? said("已豁免", "waived") : ""].filter(Boolean).join(" · "));
  const choose = el("select", { "data-label-zh": "结论", "data-label-en": "Verdict", onchange: () => { asked.verdict = choose.value; found.reload(); } }, option("", "全部结论", "All verdicts"), Object.entries(layer.field.get("verdict").terms).map(([v, [zh, en]]) => option(v, zh, en)));
  const mine = el("input", { type: "checkbox", id: "findings-mine", onchange: () => { asked.mine = mine.checked; found.reload(); } });
  mine.checked = true;
  return folded(both("规则核查发现", "Rule findings"), found, el("p", { class: "note" }, both("供人工判断，不是处罚依据。", "For a person to judge; not a ground for penalties.")), el("div", { class: "row" }, choose, el("label", { for: "findings-mine" }, mine, " ", both("只看排口与污染源", "Outfalls and polluters only"))));
}

export async function officerPanel() {
  const panel = el("section");
  if (catalogue.layers.has("outfall")) {
    try {
      if (!known.at) await firstReading();
      if (known.rows.length) panel.append(outfalls());
    } catch (error) {
      if (error.status === undefined) throw error;
      panel.append(el("p", { class: "bad" }, both("排污口未能读取，且本机没有保存的资料。", "The outfalls could not be read, and nothing is kept on this device.")));
    }
  }
  if (hasData("water_intake")) panel.append(intakes());
  if (hasData("rule_finding")) panel.append(findings());
  if (!panel.children.length) panel.append(el("p", {}, both("当前角色看不到排污口；请输入密钥。", "Your role sees no outfalls; enter an access key.")));
  labelled(panel);
  return panel;
}
