// The scenario panel: choose or make a scenario, change cameras on the map, see what it brings, compare it for the whole city.
import { both, byId, el, labelled, option, said, tell } from "./dom.js";
import { catalogue, shown } from "./catalogue.js";
import { flyTo, map } from "./map.js";
import { show } from "./layers.js";
import { closeDetail } from "./detail.js";
import { keepState, state } from "./state.js";
import { runJob } from "./jobs.js";
import { beginEdit, dropRow, openScenario, plan, preview, readScenarios, refresh, registerCamera, retry, saveRow, setRow, settle } from "./plan-store.js";
import { drawHandles, drawRows, drawViews, setUpDragging, setUpPlanMap } from "./plan-map.js";

const NAME = /^[\p{L}\p{N}_.-]{1,60}$/u, REFRESH_MS = 10000, RETRY_MS = 5000;
export const planning = { on: false };
let picked = null, adding = "", figures = null, running = null, again = false, box = null, comparison = null;

const isNew = (row) => row?.action === "add";
const titleOf = (row) => row.name_zh || row.camera;
const actionTerm = (action) => catalogue.layers.get("camera_plan")?.field.get("action")?.terms[action] || [action, action];

// At most one preview is under way; the newest wish is asked for when it comes back.
async function look() {
  if (!picked) { drawViews(null); figures = null; drawFigures(); return; }
  if (running) { again = true; return; }
  const camera = picked.camera;
  running = new AbortController();
  try {
    // A camera that is not changed yet is looked at as it stands: as one moved to where it is.
    const row = picked.action ? picked : { ...picked, action: "move" };
    const found = await preview(row, running.signal);
    if (picked?.camera === camera) {
      if (isNew(picked)) picked.admin_code = found.admin_code;
      drawViews(found.views);
      figures = found;
      drawFigures();
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      figures = { fault: error.status ? error.message : said("服务器没有应答", "The server does not answer") };
      drawFigures();
    }
  } finally {
    running = null;
    if (again) { again = false; look(); }
  }
}

const square = (v) => `${Math.round(v).toLocaleString("en")} m²`, metres = (v) => `${Math.round(v).toLocaleString("en")} m`, plain = (v) => String(Math.round(v));
const LINES = [["confirmed_m2", "公共空间确定可见", "Public ground seen", square], ["possible_m2", "公共空间可能可见", "Possibly seen", square], ["road_confirmed_m", "道路确定可见", "Roads seen", metres], ["outfalls_confirmed", "可见排污口", "Outfalls seen", plain], ["cameras_online", "在线摄像机", "Cameras online", plain]];

function drawFigures() {
  const target = byId("plan-figures");
  if (!target) return;
  if (!figures) { target.replaceChildren(); return; }
  if (figures.fault) { target.replaceChildren(el("p", { class: "bad" }, figures.fault)); return; }
  const rows = LINES.map(([key, zh, en, text]) => {
    const was = figures.before[key] ?? 0, now = figures.after[key] ?? 0, step = now - was;
    return el("tr", {}, el("th", { scope: "row" }, both(zh, en)), el("td", {}, text(was)), el("td", {}, text(now)), el("td", { class: step > 0 ? "more" : step < 0 ? "less" : "" }, `${step > 0 ? "+" : ""}${text(step)}`));
  });
  const seen = figures.views.features.find((f) => f.properties.certainty === "confirmed")?.properties.area_m2 ?? 0;
  target.replaceChildren(
    el("p", { class: "note" }, both(`本机确定可见 ${square(seen)}；周边 ${figures.area_km2.toFixed(2)} 平方公里：`, `This camera surely sees ${square(seen)}; neighbourhood of ${figures.area_km2.toFixed(2)} km²:`)),
    el("table", { class: "facts numbers" }, el("thead", {}, el("tr", {}, el("th"), el("th", { scope: "col" }, both("现状", "Today")), el("th", { scope: "col" }, both("方案", "Scenario")), el("th", { scope: "col" }, both("差", "Change")))), el("tbody", {}, rows)));
}

async function conflictOf(conflict) {
  if (!conflict) return;
  const dialog = byId("ask"), { mine, theirs } = conflict, field = catalogue.layers.get("camera_plan")?.field;
  const told = (row) => (row ? el("td", {}, both(...actionTerm(row.action)), el("br"), `${row.lon.toFixed(6)}, ${row.lat.toFixed(6)}`, el("br"), row.azimuth_deg === null ? "" : shown(field?.get("azimuth_deg"), row.azimuth_deg)) : el("td", {}, both("已删除", "Removed")));
  const choice = await new Promise((done) => {
    dialog.setAttribute("aria-labelledby", "conflict-title");
    dialog.replaceChildren(el("h2", { id: "conflict-title" }, both("他人已修改", "Changed by another")),
      el("p", {}, both(`“${titleOf(mine)}”在您编辑时被他人修改。两份内容都在，请选择。`, `“${titleOf(mine)}” was changed by another while you edited it. Both are here; choose.`)),
      el("table", { class: "facts" }, el("tr", {}, el("th", { scope: "col" }, both("我的", "Mine")), el("th", { scope: "col" }, both("对方的", "Theirs"))), el("tr", {}, told(mine), told(theirs))),
      el("p", { class: "row" }, el("button", { type: "button", id: "keep-mine", onclick: () => { dialog.close(); done(true); } }, both("保留我的", "Keep mine")), el("button", { type: "button", id: "take-theirs", onclick: () => { dialog.close(); done(false); } }, both("采用对方的", "Take theirs"))));
    dialog.addEventListener("cancel", (event) => event.preventDefault(), { once: true });
    if (dialog.open) dialog.close();
    dialog.showModal();
  });
  const next = await settle(conflict, choice);
  if (picked?.camera === mine.camera) pick(plan.rows.get(mine.camera) || null);
  await conflictOf(next);
}

function pick(row) {
  picked = row;
  if (row) closeDetail();
  drawHandles(picked);
  drawPicked();
  look();
}

async function pickRegister(id) {
  const found = await registerCamera(id), p = found.properties, name = p.device_code || found.id;
  const known = plan.rows.get(name) || plan.rows.get(found.id);
  if (known) { pick(await beginEdit(known)); return; }
  const at = found.geometry.coordinates;
  pick({ action: null, camera: found.id, name_zh: p.name_zh, admin_code: p.admin_code, camera_type: null, azimuth_deg: p.azimuth_deg ?? null, tilt_deg: null, hfov_deg: null, vfov_deg: null, view_dist_m: null, res_w_px: null, mount_height_m: null, ptz_type: null, lon: at[0], lat: at[1], from: at, online: p.net_status, id: "", etag: "", state: "new" });
}

function change(step, { save = true } = {}) {
  if (!picked) return;
  tell("", "");
  picked = setRow({ ...picked, ...step });
  drawHandles(picked);
  drawPicked();
  look();
  if (save) saveRow(picked.camera).then(conflictOf);
}

const moveTo = (at, options) => change({ lon: at[0], lat: at[1], action: isNew(picked) ? "add" : "move" }, options);
const turnTo = (azimuth, options) => change({ azimuth_deg: Math.round(((azimuth % 360) + 360) % 360 * 10) / 10, action: ["add", "move"].includes(picked.action) ? picked.action : "turn" }, options);

function add(at) {
  const type = adding;
  adding = "";
  tell("", "");
  let n = plan.rows.size + 1;
  while (plan.rows.has(`新增${n}`)) n += 1;
  const blank = Object.fromEntries(["tilt_deg", "hfov_deg", "vfov_deg", "view_dist_m", "res_w_px", "mount_height_m", "ptz_type", "admin_code"].map((name) => [name, null]));
  picked = { ...blank, action: "add", camera: `新增${n}`, name_zh: `新增${n}`, camera_type: type, azimuth_deg: 0, lon: at.lng, lat: at.lat, id: "", etag: "", state: "new" };
  change({});
}

// A place proposed by the siting is taken over as a new camera.
export async function takeProposal(properties, at) {
  if (!plan.name) { tell("请先选择或新建方案。", "Choose or make a scenario first.", { bad: true }); return false; }
  const camera = `建议${properties.rank ?? plan.rows.size + 1}`;
  if (plan.rows.has(camera)) { tell("该建议已在方案中。", "This proposal is in the scenario already."); return false; }
  setRow({ action: "add", camera, name_zh: camera, admin_code: properties.admin_code ?? null, camera_type: null, azimuth_deg: properties.azimuth_deg ?? null, tilt_deg: null, hfov_deg: properties.hfov_deg ?? null, vfov_deg: null, view_dist_m: properties.view_dist_m || null, res_w_px: properties.res_w_px ?? null, mount_height_m: properties.mount_height_m || null, ptz_type: properties.ptz_type ?? null, lon: at[0], lat: at[1], id: "", etag: "", state: "new" });
  await saveRow(camera).then(conflictOf);
  return true;
}

async function drop(row) {
  const conflict = await dropRow(row.camera);
  if (conflict) { await conflictOf(conflict); return; }
  if (picked?.camera === row.camera) pick(null);
}

function drawPicked() {
  const target = byId("plan-picked");
  if (!target) return;
  if (!picked) { target.replaceChildren(el("p", { class: "note" }, both("单击地图上的摄像机开始修改；拖动圆圈移动，拖动白点转向。", "Click a camera on the map to change it; drag the ring to move it, the white dot to turn it."))); return; }
  const row = picked, off = row.action === "switch_off" || (!row.action && row.online === "off");
  const azimuth = el("input", { type: "number", min: 0, max: 360, step: 5, id: "plan-azimuth", value: row.azimuth_deg ?? "", onchange: () => { if (azimuth.value !== "") turnTo(Number(azimuth.value)); } });
  target.replaceChildren(el("h2", { class: "title" }, titleOf(row), " ", row.action ? el("span", { class: "tag" }, both(...actionTerm(row.action))) : null),
    el("div", { class: "row" }, el("label", { for: "plan-azimuth" }, both("方位角", "Azimuth")), azimuth, "°",
      isNew(row) ? null : el("button", { type: "button", id: "plan-switch", onclick: () => change({ action: off ? "switch_on" : "switch_off" }) }, off ? both("开启", "Switch on") : both("关停", "Switch off")),
      isNew(row) ? null : el("button", { type: "button", id: "plan-remove", onclick: () => change({ action: "remove" }) }, both("拆除", "Remove")),
      plan.rows.has(row.camera) ? el("button", { type: "button", id: "plan-undo", onclick: () => drop(plan.rows.get(row.camera)) }, isNew(row) ? both("删除", "Delete") : both("撤销改动", "Undo the change")) : null));
}

function drawList() {
  const list = byId("plan-rows"), note = byId("plan-state");
  if (!list) return;
  const rows = [...plan.rows.values()].filter((row) => row.action);
  list.replaceChildren(...rows.map((row) => el("li", {}, el("button", { type: "button", onclick: async () => { flyTo({ type: "Point", coordinates: [row.lon, row.lat] }, { maxZoom: 17 }); pick(await beginEdit(plan.rows.get(row.camera))); } },
    el("b", {}, both(...actionTerm(row.action))), el("span", {}, titleOf(row)), el("small", {}, row.state === "saved" ? "✓" : row.state === "saving" ? "…" : both("未保存", "Not saved"))))));
  const left = rows.filter((row) => row.state !== "saved" && row.state !== "saving");
  note.className = left.length ? "note bad" : "note";
  note.replaceChildren(!plan.name ? "" : left.length ? el("span", {}, both(`${left.length} 条改动未保存，已留在本机，将自动重试。`, `${left.length} changes are not saved; they are kept here and tried again.`), left[0].fault ? ` ${left[0].fault}` : "") : rows.some((row) => row.state === "saving") ? both("正在保存……", "Saving…") : both(`${rows.length} 条改动，均已保存。`, `${rows.length} changes, all saved.`));
}

export function comparisonTable(result) {
  const pairs = Object.keys(result.after || {}).filter((key) => typeof result.after[key] === "number" || key.startsWith("area_"));
  const names = { cameras: ["摄像机", "Cameras"], cameras_online: ["在线摄像机", "Cameras online"], area_confirmed_online_m2: ["确定可见", "Surely seen"], area_possible_online_m2: ["可能可见", "Possibly seen"], area_confirmed_installed_m2: ["确定可见（含离线）", "Surely seen, with those off"], public_m2: ["公共空间", "Public ground"] };
  const rows = pairs.flatMap((key) => (typeof result.after[key] === "number" ? [[key, "", result.before[key] ?? 0, result.after[key]]] : Object.keys(result.after[key]).map((d) => [key, ` ${d} px/m`, result.before[key]?.[d] ?? 0, result.after[key][d]])))
    .filter(([key, , was, now]) => names[key] && was !== now);
  const list = (title, places) => (places.length ? el("details", {}, el("summary", {}, title, ` ${places.length}`), el("ul", { class: "plain" }, places.slice(0, 30).map((p) => el("li", {}, `${p.name || p.place} · ${p.need_before} → ${p.need_after}`)))) : null);
  return el("div", { id: "plan-comparison" }, el("p", { class: "note" }, both(`全市对比：影响 ${result.affected_km2} 平方公里，${result.cameras_changed} 台摄像机`, `Whole city: ${result.affected_km2} km² affected, ${result.cameras_changed} cameras`)),
    el("table", { class: "facts numbers" }, el("thead", {}, el("tr", {}, el("th"), el("th", { scope: "col" }, both("前", "Before")), el("th", { scope: "col" }, both("后", "After")), el("th", { scope: "col" }, both("差", "Change")))),
      el("tbody", {}, rows.map(([key, suffix, was, now]) => el("tr", {}, el("th", { scope: "row" }, both(names[key][0] + suffix, names[key][1] + suffix)), el("td", {}, Math.round(was).toLocaleString("en")), el("td", {}, Math.round(now).toLocaleString("en")), el("td", { class: now > was ? "more" : "less" }, `${now > was ? "+" : ""}${Math.round(now - was).toLocaleString("en")}`))))),
    list(both("消除的缺口", "Gaps closed"), result.gaps?.closed || []), list(both("新增的缺口", "Gaps opened"), result.gaps?.opened || []), list(both("变化的缺口", "Gaps changed"), result.gaps?.changed || []));
}

async function choose(name) {
  picked = null;
  comparison = null;
  state.scenario = name;
  keepState();
  await openScenario(name);
  planning.on = Boolean(name);
  if (name) show("camera_site");
  else map.getCanvas().style.cursor = "";
  pick(null);
  hideUnused(name);
}

// Parts of the panel for a scenario that is open, and the hint where none is.
const hideUnused = (name) => box?.querySelectorAll("[data-needs-plan], [data-without-plan]").forEach((node) => { node.hidden = Boolean(name) === node.matches("[data-without-plan]"); });

export async function planPanel() {
  await readScenarios();
  const chosen = el("select", { id: "plan-name", "data-label-zh": "方案", "data-label-en": "Scenario", onchange: () => choose(chosen.value) });
  const fill = () => chosen.replaceChildren(option("", "（不编辑）", "(not editing)"), ...[...new Set([...(plan.name ? [plan.name] : []), ...plan.names.map((s) => s.name)])].map((name) => option(name, name, name, name === plan.name)));
  fill();
  const fresh = el("input", { id: "plan-new", size: 12, maxlength: 60, "data-hint-zh": "新方案名称", "data-hint-en": "Name of a new one", "data-label-zh": "新方案名称", "data-label-en": "Name of a new scenario" });
  const make = el("form", { class: "row", onsubmit: async (event) => {
    event.preventDefault();
    const name = fresh.value.trim().replaceAll(" ", "_");
    if (!NAME.test(name)) { tell("名称只含文字、数字、点、横线和下划线，最多 60 个字。", "A name has letters, digits, dot, dash and underscore, at most 60.", { bad: true }); return; }
    await choose(name);
    fresh.value = "";
    fill();
  } }, fresh, el("button", { type: "submit" }, both("新建", "New")));
  const kind = el("select", { id: "plan-type", "data-label-zh": "型号", "data-label-en": "Type of camera" }, plan.types.map((t) => option(t.name, t.name, t.name)));
  const job = el("div"), result = el("div");
  box = el("section", {}, el("h2", { class: "title" }, both("规划方案", "Scenario")), el("div", { class: "row" }, chosen, make),
    el("p", { class: "note", "data-without-plan": "" }, both("选择或新建一个方案，即可在图上新增、拖动、转向、停用摄像机；视域和数字随即更新。登记数据不变。", "Choose a scenario or name a new one; then add, drag, turn and switch off cameras on the map: what they see and the numbers follow. The register stays as it is.")),
    el("div", { class: "row", "data-needs-plan": "" }, kind, el("button", { type: "button", id: "plan-add", onclick: () => { adding = kind.value; tell("在地图上单击新摄像机的位置。", "Click where the new camera stands."); } }, both("新增摄像机", "Add a camera"))),
    el("div", { id: "plan-picked", "data-needs-plan": "" }), el("div", { id: "plan-figures", "aria-live": "polite", "data-needs-plan": "" }),
    el("div", { "data-needs-plan": "" }, el("h2", { class: "title" }, both("改动", "Changes")), el("p", { id: "plan-state", class: "note", role: "status" }), el("ol", { class: "ranked", id: "plan-rows" })),
    el("div", { "data-needs-plan": "" }, el("button", { type: "button", id: "plan-compare", onclick: async () => {
      const done = await runJob("compare-scenario", { scenario: plan.name, mode: "fast" }, job);
      if (done) { comparison = (await done.result()).result; result.replaceChildren(comparisonTable(comparison)); }
    } }, both("全市前后对比", "Compare for the whole city")), job, result));
  if (comparison) result.replaceChildren(comparisonTable(comparison));
  hideUnused(plan.name);
  labelled(box);
  queueMicrotask(() => requestAnimationFrame(() => { drawPicked(); drawFigures(); drawList(); }));
  return box;
}

export async function setUpPlanning() {
  setUpPlanMap();
  setUpDragging({
    active: () => planning.on,
    pick: async (hit, at) => {
      if (adding) add(at);
      else if (hit?.camera) pick(await beginEdit(plan.rows.get(hit.camera)));
      else if (hit) await pickRegister(hit.id);
      else pick(null);
    },
    moved: (part, at, pixel) => {
      if (part === "move") moveTo([at.lng, at.lat], { save: false });
      else {
        const centre = map.project([picked.lon, picked.lat]);
        turnTo(Math.atan2(pixel.x - centre.x, centre.y - pixel.y) * 180 / Math.PI, { save: false });
      }
    },
    done: () => { if (picked) saveRow(picked.camera).then(conflictOf); },
  });
  map.on("zoom", () => drawHandles(picked));
  document.addEventListener("baige:plan", () => {
    drawRows();
    drawList();
    const now = picked && plan.rows.get(picked.camera);
    if (now && now !== picked && now.state === "saved") beginEdit(now).then((row) => { if (picked?.camera === row.camera) pick(row); });
    else if (picked && !now && picked.id) pick(null);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && planning.on && !byId("ask").open) { adding = ""; pick(null); } });
  setInterval(() => { if (planning.on && !document.hidden) refresh().catch(() => {}); }, REFRESH_MS);
  setInterval(async () => { if (planning.on && [...plan.rows.values()].some((row) => row.state === "unsaved")) for (const conflict of await retry()) await conflictOf(conflict); }, RETRY_MS);
  window.addEventListener("beforeunload", (event) => { if ([...plan.rows.values()].some((row) => row.state === "saving")) event.preventDefault(); });
  if (!state.scenario) return;
  await choose(state.scenario);
  // A link to a scenario that is no longer kept: its name is opened, empty, and that is said.
  if (!plan.rows.size && !plan.names.length) await readScenarios().catch(() => {});
  if (!plan.rows.size && !plan.names.some((s) => s.name === plan.name)) tell(`没有已存的方案“${plan.name}”：可能已删除或尚无改动；现在从空白开始。`, `There is no scenario “${plan.name}”: it was deleted or has no changes yet; it begins empty.`, { stay: true });
}
