// Measuring, selecting a rectangle, picture of the map, permalink.
import { both, byId, download, el, labelled, lang, said, tell } from "./dom.js";
import { catalogue, shown, title } from "./catalogue.js";
import { count, quoted } from "./server.js";
import { identify } from "./detail.js";
import { map, scratch } from "./map.js";
import { isOn } from "./layers.js";
import { planning } from "./plan-panel.js";

const RADIUS = 6371008.8;
let mode = "", corners = [], dragging = null;

const rad = (v) => v * Math.PI / 180;
export function distance(a, b) {
  const h = Math.sin(rad(b[1] - a[1]) / 2) ** 2 + Math.cos(rad(a[1])) * Math.cos(rad(b[1])) * Math.sin(rad(b[0] - a[0]) / 2) ** 2;
  return 2 * RADIUS * Math.asin(Math.sqrt(h));
}

// Area on the sphere (Chamberlain and Duquette 2007), square metres.
export function area(ring) {
  let sum = 0;
  for (let n = 0; n < ring.length; n += 1) {
    const [x0] = ring[(n + ring.length - 1) % ring.length], [, y] = ring[n], [x1] = ring[(n + 1) % ring.length];
    sum += rad(x1 - x0) * Math.sin(rad(y));
  }
  return Math.abs(sum * RADIUS * RADIUS / 2);
}

const metres = (m) => (m < 1000 ? `${m.toFixed(1)} m` : `${(m / 1000).toFixed(3)} km`);

function drawMeasure() {
  const line = { type: "Feature", properties: {}, geometry: { type: "LineString", coordinates: corners } };
  const points = corners.map((at) => ({ type: "Feature", properties: {}, geometry: { type: "Point", coordinates: at } }));
  scratch(corners.length > 1 ? [line, ...points] : points);
  const total = corners.slice(1).reduce((sum, at, n) => sum + distance(corners[n], at), 0);
  const square = corners.length > 2 ? area(corners) : 0;
  tell(`距离 ${metres(total)}${square ? `；围合面积 ${(square / 1e6).toFixed(4)} km²` : ""}（双击结束）`, `Distance ${metres(total)}${square ? `; area enclosed ${(square / 1e6).toFixed(4)} km²` : ""} (double click ends)`, { stay: true });
}

function leave() {
  mode = "";
  corners = [];
  map.getCanvas().style.cursor = "";
  map.dragPan.enable();
  map.doubleClickZoom.enable();
  for (const button of byId("tools").querySelectorAll("[aria-pressed]")) button.setAttribute("aria-pressed", "false");
}

function enter(name, button) {
  const again = mode === name;
  leave();
  scratch([]);
  tell("", "");
  if (again) return;
  mode = name;
  button.setAttribute("aria-pressed", "true");
  map.getCanvas().style.cursor = "crosshair";
  map.doubleClickZoom.disable();
  if (name === "select") {
    map.dragPan.disable();
    tell("在地图上拖出一个矩形。", "Drag a rectangle on the map.", { stay: true });
  } else tell("在地图上逐点单击，双击结束。", "Click point by point; double click ends.", { stay: true });
}

const rectangle = (a, b) => ({ type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [[[a[0], a[1]], [b[0], a[1]], [b[0], b[1]], [a[0], b[1]], [a[0], a[1]]]] } });

// How many features of each visible layer touch the rectangle, by class where the layer has some.
export async function selectionOf(a, b) {
  const box = [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])], bbox = box.map((v) => v.toFixed(6)).join(",");
  const layers = [...catalogue.layers.values()].filter((layer) => layer.drawn && isOn(layer.name) && layer.count !== 0);
  const found = await Promise.all(layers.map(async (layer) => {
    const total = await count(layer.name, { bbox });
    const field = layer.by ? layer.field.get(layer.by) : null;
    const classes = total && field?.terms && layer.kind !== "base" ? await Promise.all(layer.classes.map(async (c) => ({ ...c, n: await count(layer.name, { bbox, filter: c.key === "" ? `${layer.by} IS NULL` : `${layer.by} = ${field.type === "bool" ? c.key : field.integer ? c.key : quoted(c.key)}` }) }))) : [];
    return { layer, total, classes: classes.filter((c) => c.n) };
  }));
  return { bbox, box, found: found.filter((part) => part.total), km2: area([[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]]) / 1e6 };
}

async function showSelection(a, b, place) {
  tell("正在统计……", "Counting…", { stay: true });
  const { found, km2, bbox } = await selectionOf(a, b);
  tell("", "");
  place(el("section", {}, el("h2", { class: "title" }, both("选区统计", "Statistics of the selection")), el("p", { class: "note" }, both(`面积 ${km2.toFixed(2)} 平方公里；只统计已打开的图层`, `${km2.toFixed(2)} km²; visible layers only`)),
    found.length ? found.map(({ layer, total, classes }) => el("div", {}, el("h2", { class: "title" }, both(layer.zh, layer.en), ` ${total.toLocaleString("en")} `, el("a", { href: `/collections/${layer.name}/items?f=html&bbox=${bbox}`, target: "_blank", rel: "noopener" }, both("列表", "list"))),
      classes.length ? bars(classes.map((c) => ({ ...c, label: both(c.zh, c.en) }))) : null)) : el("p", {}, both("选区内没有要素。", "Nothing in the selection."))));
}

export function bars(rows, onpick = null, picked = null) {
  const most = Math.max(1, ...rows.map((row) => row.n ?? 0));
  return el("div", { class: "bars" }, rows.flatMap((row) => [
    onpick ? el("button", { type: "button", "aria-pressed": String(picked === row.key), onclick: () => onpick(row) }, row.label) : el("span", {}, row.label),
    el("i", { style: `width:${Math.round((row.n ?? 0) / most * 100)}%;background:${row.color}` }), el("b", {}, row.text ?? (row.n === null ? "?" : row.n.toLocaleString("en")))]));
}

// The map as a picture with title, legend, scale, date, run and notices.
export async function picture() {
  map.triggerRepaint();
  await new Promise((done) => map.once("render", done));
  const source = map.getCanvas(), ratio = source.width / source.clientWidth, side = 250 * ratio, foot = 46 * ratio, head = 44 * ratio;
  const canvas = el("canvas", { width: Math.round(source.width + side), height: Math.round(source.height + head + foot) });
  const pen = canvas.getContext("2d"), font = (size, bold = "") => { pen.font = `${bold} ${size * ratio}px "Noto Sans CJK SC", "Microsoft YaHei", sans-serif`; };
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(source, 0, head);
  pen.strokeStyle = "#333"; pen.strokeRect(0, head, source.width, source.height);
  pen.fillStyle = "#1b2530"; font(18, "bold"); pen.fillText(`${said("百格", "Baige")} · ${title(catalogue.city)}`, 10 * ratio, 29 * ratio);
  font(30); pen.fillText("↑", source.width - 26 * ratio, head + 34 * ratio); font(12); pen.fillText(said("北", "N"), source.width - 22 * ratio, head + 50 * ratio);
  let y = head + 16 * ratio;
  for (const layer of [...catalogue.layers.values()].filter((l) => l.drawn && isOn(l.name) && l.kind !== "base")) {
    if (y > canvas.height - foot - 20 * ratio) break;
    font(12.5, "bold"); pen.fillStyle = "#1b2530"; pen.fillText(title(layer), source.width + 10 * ratio, y); y += 17 * ratio;
    font(11.5);
    for (const c of layer.classes) {
      pen.fillStyle = c.color; pen.globalAlpha = c.unknown ? 0.35 : 0.9; pen.fillRect(source.width + 12 * ratio, y - 9 * ratio, 14 * ratio, 10 * ratio); pen.globalAlpha = 1;
      pen.fillStyle = "#38424d"; pen.fillText(title(c), source.width + 32 * ratio, y); y += 15 * ratio;
      if (y > canvas.height - foot) break;
    }
    y += 5 * ratio;
  }
  const at = map.getCenter(), across = distance([at.lng, at.lat], [map.unproject([source.clientWidth / 2 + 100, source.clientHeight / 2]).lng, at.lat]);
  const round = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000].reduce((best, v) => (v <= across ? v : best), 1), length = round / across * 100 * ratio;
  const base = head + source.height - 14 * ratio;
  pen.fillStyle = "rgb(255 255 255 / 85%)"; pen.fillRect(8 * ratio, base - 18 * ratio, length + 16 * ratio, 26 * ratio); pen.fillStyle = "#1b2530"; pen.fillRect(16 * ratio, base, length, 3 * ratio); font(11); pen.fillText(round < 1000 ? `${round} m` : `${round / 1000} km`, 16 * ratio, base - 4 * ratio);
  const runs = catalogue.runs.map((run) => `${run.kind} ${run.id.slice(0, 8)} (${run.at})`).join("; ");
  const notes = [catalogue.synthetic ? said("合成数据，不是真实情况", "Synthetic data, not the real state of affairs") : "", catalogue.role === "public" ? "" : said("内部资料", "Internal")].filter(Boolean).join(" · ");
  font(11); pen.fillStyle = "#38424d"; pen.fillText(`${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC · ${runs}`, 10 * ratio, canvas.height - 28 * ratio); pen.fillText(notes, 10 * ratio, canvas.height - 11 * ratio);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

export function setUpTools(place) {
  const bar = byId("tools");
  const button = (zh, en, action, toggles = false) => el("button", { type: "button", "aria-pressed": toggles ? "false" : null, onclick: action }, both(zh, en));
  const measure = button("量测", "Measure", () => enter("measure", measure), true);
  const select = button("框选", "Select", () => enter("select", select), true);
  bar.append(measure, select, button("图片", "PNG", async () => download("baige.png", await picture())), button("链接", "Link", async () => {
    try { await navigator.clipboard.writeText(location.href); tell("链接已复制。", "The link is copied."); } catch { tell("链接就在地址栏中。", "The link stands in the address bar."); }
  }));
  labelled(bar);
  map.on("click", (event) => {
    if (mode === "measure") { corners.push([event.lngLat.lng, event.lngLat.lat]); drawMeasure(); } else if (!mode && !planning.on) identify(event.point);
  });
  map.on("dblclick", () => { if (mode === "measure") leave(); });
  map.on("mousedown", (event) => { if (mode === "select") dragging = [event.lngLat.lng, event.lngLat.lat]; });
  map.on("mousemove", (event) => { if (dragging) scratch([rectangle(dragging, [event.lngLat.lng, event.lngLat.lat])]); });
  // On the window: the rectangle may end outside the map or over another panel.
  window.addEventListener("mouseup", (event) => {
    if (!dragging) return;
    const frame = map.getCanvas().getBoundingClientRect(), end = map.unproject([event.clientX - frame.left, event.clientY - frame.top]);
    const from = dragging, to = [end.lng, end.lat];
    dragging = null;
    leave();
    if (from[0] !== to[0] && from[1] !== to[1]) showSelection(from, to, place);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && mode) { leave(); scratch([]); tell("", ""); } });
  document.documentElement.dataset.lang = lang();
}
