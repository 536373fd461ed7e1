// Puts the parts together.
import { both, byId, el, labelled, lang, setLanguage, tell } from "./dom.js";
import { login, logout, readSession, Refused, session } from "./server.js";
import { forgetOutfalls } from "./outfalls.js";
import { catalogue, readCatalogue, title } from "./catalogue.js";
import { makeMap, map, setLayer, sortLayers } from "./map.js";
import { setUpSectors } from "./sectors.js";
import { firstLayers, layersPanel } from "./layers.js";
import { closeDetail, openFeature } from "./detail.js";
import { setUpSearch } from "./search.js";
import { openTable, setUpTable } from "./table.js";
import { setUpTools } from "./tools.js";
import { paintCoverage } from "./painting.js";
import { plannerPanel } from "./planner.js";
import { planPanel, setUpPlanning } from "./plan-panel.js";
import { setUpHistory } from "./history.js";
import { officerPanel } from "./officer.js";
import { setUpField } from "./field.js";
import { keepState, readState, state } from "./state.js";

const TABS = [["layers", "图层", "Layers"], ["planner", "规划", "Planner"], ["scenario", "方案", "Scenario"], ["officer", "监管", "Officer"], ["selection", "选区", "Selection"]];
const made = new Map();

async function contentOf(name) {
  if (name === "layers") return layersPanel(openTable);
  if (name === "planner") return plannerPanel();
  if (name === "scenario") return planPanel();
  if (name === "officer") return officerPanel();
  return el("section", {}, el("p", { class: "note" }, both("用“框选”在地图上拖出矩形，这里显示统计。", "Drag a rectangle with “Select”; its statistics appear here.")));
}

async function openTab(name, content = null) {
  if (!TABS.some(([known]) => known === name)) name = "layers";
  state.tab = name;
  keepState();
  for (const button of byId("tabs").children) {
    const is = button.id === `tab-${name}`;
    button.setAttribute("aria-selected", String(is));
    button.tabIndex = is ? 0 : -1;
  }
  if (content) made.set(name, content);
  if (!made.has(name)) made.set(name, await contentOf(name));
  if (state.tab !== name) return;
  const panel = made.get(name);
  panel.id = "panel";
  panel.setAttribute("role", "tabpanel");
  panel.setAttribute("aria-labelledby", `tab-${name}`);
  byId("panels").replaceChildren(panel);
  labelled(panel);
}

function setUpTabs() {
  byId("tabs").append(...TABS.map(([name, zh, en]) => el("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel", onclick: () => openTab(name) }, both(zh, en))));
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = TABS.findIndex(([name]) => name === state.tab), next = TABS[(at + step + TABS.length) % TABS.length][0];
    openTab(next);
    byId(`tab-${next}`).focus();
  });
}

const ROLES = { public: ["访客", "Visitor"], viewer: ["查看人员", "Viewer"], officer: ["监管人员", "Officer"], planner: ["规划人员", "Planner"], admin: ["管理员", "Administrator"] };
const roleOf = (role) => both(...(ROLES[role] || [role, role]));

function askKey() {
  const dialog = byId("ask"), input = el("input", { type: "password", id: "key-value", autocomplete: "off", size: 34, required: true });
  const signOut = async () => { await forgetOutfalls().catch(() => {}); await logout(); location.reload(); };
  dialog.setAttribute("aria-labelledby", "key-title");
  dialog.replaceChildren(el("form", { method: "dialog", onsubmit: async (event) => {
    event.preventDefault();
    try { await login(input.value.trim()); } catch { dialog.close(); return; }
    location.reload();
  } }, el("h2", { id: "key-title" }, both("登录", "Log in")),
  session.authenticated ? el("p", {}, both("当前：", "Now: "), roleOf(session.role), session.district ? ` · ${session.district}` : "", session.expires ? both(`，至 ${session.expires.slice(0, 16).replace("T", " ")} UTC`, `, until ${session.expires.slice(0, 16).replace("T", " ")} UTC`) : "") : null,
  el("p", {}, el("label", { for: "key-value" }, both("访问密钥", "Access key"))), input,
  el("p", { class: "row" }, el("button", { type: "submit", class: "main" }, both("使用", "Use")), session.authenticated ? el("button", { type: "button", id: "sign-out", onclick: signOut }, both("退出", "Log out")) : null, el("button", { type: "button", onclick: () => dialog.close() }, both("取消", "Cancel")))));
  dialog.showModal();
}

function heading() {
  byId("city").replaceChildren(title(catalogue.city));
  byId("key").replaceChildren(session.authenticated ? roleOf(session.role) : catalogue.role === "public" || catalogue.authenticated ? both("登录", "Log in") : roleOf(catalogue.role), session.district ? ` ${session.district}` : "");
  document.title = `${lang() === "zh" ? "百格" : "Baige"} · ${title(catalogue.city)}`;
  const notices = [];
  if (catalogue.synthetic) notices.push(both("合成数据，不是真实情况", "Synthetic data, not the real state of affairs"));
  if (catalogue.role !== "public") notices.push(both(" · 内部资料", " · Internal"));
  byId("notice").replaceChildren(...notices);
  byId("notice").hidden = !notices.length;
}

// A moment in a link that cannot be shown (no instant, or one to come) is dropped, and that is said.
function mendMoments() {
  for (const name of ["asof", "swipe"]) {
    const text = state[name];
    if (!text || (name === "swipe" && (text === "now" || text.startsWith("scenario:"))) || (name === "asof" && text.startsWith("scenario:"))) continue;
    if (/(Z|[+-]\d\d:\d\d)$/.test(text) && Date.parse(text) <= Date.now() + 60000) continue;
    tell(`链接中的时刻“${text.slice(0, 40)}”无法显示，改为显示现在。`, `The moment “${text.slice(0, 40)}” of this link cannot be shown; it is the present instead.`, { bad: true, stay: true });
    state[name] = "";
  }
}

async function start() {
  readState();
  setLanguage(state.lang || localStorage.getItem("baige-lang") || (navigator.language.startsWith("zh") ? "zh" : "en"));
  byId("language").addEventListener("click", () => {
    state.lang = lang() === "zh" ? "en" : "zh";
    localStorage.setItem("baige-lang", state.lang);
    setLanguage(state.lang);
    keepState();
  });
  byId("key").addEventListener("click", askKey);
  byId("fold").addEventListener("click", () => {
    const folded = document.body.classList.toggle("folded");
    byId("fold").setAttribute("aria-expanded", String(!folded));
    map?.resize();
  });
  if (matchMedia("(max-width: 760px)").matches) byId("fold").click();
  // without a server the page still opens with what is kept on the device
  const [, described] = await Promise.allSettled([readSession(), readCatalogue()]);
  if (described.status === "rejected") throw described.reason;
  heading();
  document.addEventListener("baige:session", heading);
  setUpField();
  mendMoments();
  if (!await makeMap()) {
    byId("map").replaceChildren(el("p", { style: "padding:80px 20px" }, both("此浏览器没有 WebGL，无法绘制地图。请改用", "This browser has no WebGL and cannot draw the map. Use the "), el("a", { href: "/maps/index.html" }, both("离线地图", "standalone maps")), both("，或不用地图查看", ", or without a map the "), el("a", { href: "/collections?f=html" }, both("图层列表", "list of layers")), "。"));
    byId("side").hidden = byId("find").hidden = byId("tools").hidden = byId("fold").hidden = true;
    document.body.dataset.ready = "no-webgl";
    return;
  }
  state.on = (state.on || firstLayers()).filter((name) => catalogue.layers.get(name)?.drawn);
  const drawing = new Set(state.on);
  for (const layer of [...catalogue.layers.values()].sort((a, b) => a.height - b.height)) if (drawing.has(layer.name)) setLayer(layer.name, true);
  sortLayers();
  setUpSectors();
  const plans = ["planner", "admin"].includes(catalogue.role) && catalogue.layers.has("camera_plan");
  if (!plans) TABS.splice(TABS.findIndex(([name]) => name === "scenario"), 1);
  else setUpPlanning();
  setUpTabs();
  setUpSearch();
  setUpTable();
  setUpTools((content) => openTab("selection", content));
  setUpHistory((content) => openTab("selection", content));
  document.addEventListener("baige:language", () => {
    heading();
    for (const name of ["planner", "scenario", "officer"]) made.delete(name);
    openTab(state.tab);
    if (state.picked) openFeature(...state.picked.split("/"));
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !byId("detail").hidden) closeDetail(); });
  if (state.metric && drawing.has("coverage_by_grid")) paintCoverage(state.metric, state.unit);
  await openTab(state.tab);
  if (state.table) {
    const filter = state.filter;
    openTable(state.table);
    if (filter) { byId("cql").value = filter; byId("cql").nextElementSibling.click(); }
  }
  if (state.picked) openFeature(...state.picked.split("/")).catch(closeDetail);
  document.body.dataset.ready = "yes";
}

// What the server refused has been said where it was asked for.
window.addEventListener("unhandledrejection", (event) => { if (event.reason instanceof Refused && event.reason.told) event.preventDefault(); });

start().catch((error) => {
  if (error.status === undefined) {
    tell("页面出错，请刷新。", "The page failed; reload it.", { bad: true, stay: true });
    throw error;
  }
});
