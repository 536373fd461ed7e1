// Measuring, selecting by rectangle, polygon and buffer, picture and print of the map, permalink.
import { both, byId, download, el, labelled, lang, option, said, tell } from "./dom.js";
import { catalogue, shown, title } from "./catalogue.js";
import { identify } from "./detail.js";
import { drawWhole } from "./fluid.js";
import { map, scratch } from "./map.js";
import { isOn } from "./layers.js";
import { pdfOf } from "./pdf.js";
import { circle, showSelection } from "./select.js";
import { state } from "./state.js";
import { legendInForce } from "./painting.js";
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
  if (name === "select" || name === "buffer") {
    map.dragPan.disable();
    if (name === "select") tell("在地图上拖出一个矩形。", "Drag a rectangle on the map.", { stay: true });
    else tell("从中心向外拖出缓冲半径。", "Drag from the centre outwards to the radius.", { stay: true });
  } else tell("在地图上逐点单击，双击结束。", "Click point by point; double click ends.", { stay: true });
}

const rectangle = (a, b) => [[a[0], a[1]], [b[0], a[1]], [b[0], b[1]], [a[0], b[1]], [a[0], a[1]]];
const polygon = (ring) => ({ type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [ring] } });
const dragged = (from, to) => (mode === "buffer" ? circle(from, Math.max(1, distance(from, to))) : rectangle(from, to));

export function bars(rows, onpick = null, picked = null) {
  const most = Math.max(1, ...rows.map((row) => row.n ?? 0));
  return el("div", { class: "bars" }, rows.flatMap((row) => [
    onpick ? el("button", { type: "button", "aria-pressed": String(picked === row.key), onclick: () => onpick(row) }, row.label) : el("span", {}, row.label),
    el("i", { style: `width:${Math.round((row.n ?? 0) / most * 100)}%;background:${row.color}` }), el("b", {}, row.text ?? (row.n === null ? "?" : row.n.toLocaleString("en")))]));
}

// What a side of the map shows where it is not the present: a scenario, or a moment of the past.
function sideNote(value, before) {
  if (!value || value === "now") return "";
  return value.startsWith("scenario:") ? said(`方案 ${value.slice(9)}`, `Scenario ${value.slice(9)}`) : `${before} ${value.slice(0, 19)}Z`.trim();
}

// What the legend of a printed map says, in columns of as many lines as fit: nothing is left out, the page becomes wider instead.
function legendColumns(room) {
  const on = [...catalogue.layers.values()].filter((l) => l.drawn && isOn(l.name)), own = on.filter((l) => l.kind !== "base"), columns = [[]];
  let left = room;
  const put = (entry, high) => { if (left < high) { columns.push([]); left = room; } columns[columns.length - 1].push(entry); left -= high; };
  for (const layer of own.length ? own : on) {
    const { heading, classes } = legendInForce(layer);
    if (left < 37) left = 0; // a title does not stand alone at the foot
    put({ text: heading, high: 19 }, 19);
    for (const c of classes) put({ text: title(c), color: c.color, unknown: c.unknown, high: 15 }, 15);
    left -= 5;
  }
  return columns;
}

// The map as a picture with title, legend, north arrow, scale, date, runs and notices.
export async function sheet(heading = "") {
  drawWhole(map);
  map.triggerRepaint();
  await new Promise((done) => map.once("render", done));
  const source = map.getCanvas(), ratio = source.width / source.clientWidth, foot = 62 * ratio, head = 44 * ratio;
  const columns = legendColumns(source.clientHeight - 20), wide = 250 * ratio, side = wide * columns.length;
  const canvas = el("canvas", { width: Math.round(source.width + side), height: Math.round(source.height + head + foot) });
  const pen = canvas.getContext("2d"), font = (size, bold = "") => { pen.font = `${bold} ${size * ratio}px "Noto Sans CJK SC", "Microsoft YaHei", sans-serif`; };
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(source, 0, head);
  const other = byId("map-b").querySelector("canvas");
  if (state.swipe && other) {
    const from = Math.round(source.width * Number(byId("divider").getAttribute("aria-valuenow")) / 100);
    pen.drawImage(other, from, 0, other.width - from, other.height, from, head, source.width - from, source.height);
    pen.fillStyle = "#fff"; pen.fillRect(from - ratio, head, 2 * ratio, source.height);
  }
  pen.strokeStyle = "#333"; pen.strokeRect(0, head, source.width, source.height);
  pen.fillStyle = "#1b2530"; font(18, "bold"); pen.fillText(heading || `${said("百格", "Baige")} · ${title(catalogue.city)}`, 10 * ratio, 29 * ratio, canvas.width - 20 * ratio);
  font(30); pen.fillText("↑", source.width - 26 * ratio, head + 34 * ratio); font(12); pen.fillText(said("北", "N"), source.width - 22 * ratio, head + 50 * ratio);
  columns.forEach((column, n) => {
    const x = source.width + n * wide;
    let y = head + 16 * ratio;
    for (const entry of column) {
      if (entry.color) {
        font(11.5);
        pen.fillStyle = entry.color; pen.globalAlpha = entry.unknown ? 0.35 : 0.9; pen.fillRect(x + 12 * ratio, y - 9 * ratio, 14 * ratio, 10 * ratio); pen.globalAlpha = 1;
        pen.fillStyle = "#38424d"; pen.fillText(entry.text, x + 32 * ratio, y, wide - 40 * ratio);
      } else { font(12.5, "bold"); pen.fillStyle = "#1b2530"; pen.fillText(entry.text, x + 10 * ratio, y, wide - 18 * ratio); }
      y += entry.high * ratio;
    }
  });
  const at = map.getCenter(), across = distance([at.lng, at.lat], [map.unproject([source.clientWidth / 2 + 100, source.clientHeight / 2]).lng, at.lat]);
  const round = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000].reduce((best, v) => (v <= across ? v : best), 1), length = round / across * 100 * ratio;
  const base = head + source.height - 14 * ratio;
  pen.fillStyle = "rgb(255 255 255 / 85%)"; pen.fillRect(8 * ratio, base - 18 * ratio, length + 16 * ratio, 26 * ratio); pen.fillStyle = "#1b2530"; pen.fillRect(16 * ratio, base, length, 3 * ratio); font(11); pen.fillText(round < 1000 ? `${round} m` : `${round / 1000} km`, 16 * ratio, base - 4 * ratio);
  const notes = [catalogue.synthetic ? said("合成数据，不是真实情况", "Synthetic data, not the real state of affairs") : "", catalogue.role === "public" ? "" : said("内部资料", "Internal"), sideNote(state.asof, said("数据截至", "As recorded at")), state.swipe ? `${said("右侧", "right")}: ${sideNote(state.swipe, "") || said("现在", "now")}` : ""].filter(Boolean).join(" · ");
  font(11); pen.fillStyle = "#38424d";
  // Date and runs take two lines where they must.
  const lines = [""];
  for (const part of [`${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC`, ...catalogue.runs.map((run) => `${run.kind} ${run.id.slice(0, 8)} (${run.at})`)]) {
    const last = lines[lines.length - 1], longer = last ? `${last} · ${part}` : part;
    if (last && pen.measureText(longer).width > canvas.width - 20 * ratio) lines.push(part);
    else lines[lines.length - 1] = longer;
  }
  [...lines.slice(0, 2), notes].forEach((line, n) => pen.fillText(line, 10 * ratio, canvas.height - foot + (18 + 17 * n) * ratio));
  return canvas;
}

export const picture = async () => { const canvas = await sheet(); return new Promise((done) => canvas.toBlob(done, "image/png")); };

const PAPERS = { a4: [297, 210], a3: [420, 297] };

// A map for a meeting has a title of its own and the office's paper.
function print() {
  const dialog = byId("ask"), text = el("input", { id: "print-title", size: 34, maxlength: 60, value: `${said("百格", "Baige")} · ${title(catalogue.city)}` });
  const paper = el("select", { id: "print-paper" }, option("a4", "A4 横向", "A4, landscape"), option("a3", "A3 横向", "A3, landscape"));
  dialog.setAttribute("aria-labelledby", "print-heading");
  dialog.replaceChildren(el("form", { method: "dialog", onsubmit: async (event) => {
    event.preventDefault();
    dialog.close();
    const [widthMm, heightMm] = PAPERS[paper.value], name = text.value.trim();
    download("baige.pdf", await pdfOf(await sheet(name), { title: name || document.title, widthMm, heightMm }));
  } }, el("h2", { id: "print-heading" }, both("打印地图", "Print the map")),
  el("p", { class: "field" }, el("label", { for: "print-title" }, both("标题", "Title")), text), el("p", { class: "field" }, el("label", { for: "print-paper" }, both("纸张", "Paper")), paper),
  el("p", { class: "row" }, el("button", { type: "submit", class: "main", id: "print-now" }, both("生成 PDF", "Make the PDF")), el("button", { type: "button", onclick: () => dialog.close() }, both("取消", "Cancel")))));
  labelled(dialog);
  dialog.showModal();
}

export function setUpTools(place) {
  const bar = byId("tools");
  const button = (zh, en, action, toggles = false) => el("button", { type: "button", "aria-pressed": toggles ? "false" : null, onclick: action }, both(zh, en));
  const measure = button("量测", "Measure", () => enter("measure", measure), true);
  const select = button("框选", "Select", () => enter("select", select), true);
  const area = button("多边形", "Polygon", () => enter("polygon", area), true);
  const buffer = button("缓冲区", "Buffer", () => enter("buffer", buffer), true);
  bar.append(measure, select, area, buffer, button("打印 PDF", "PDF", print), button("图片", "PNG", async () => download("baige.png", await picture())), button("链接", "Link", async () => {
    try { await navigator.clipboard.writeText(location.href); tell("链接已复制。", "The link is copied."); } catch { tell("链接就在地址栏中。", "The link stands in the address bar."); }
  }));
  labelled(bar);
  map.on("click", (event) => {
    if (mode === "measure" || mode === "polygon") { corners.push([event.lngLat.lng, event.lngLat.lat]); drawMeasure(); } else if (!mode && !planning.on) identify(event.point);
  });
  map.on("dblclick", () => {
    // A double click has put its corner twice.
    const ring = corners.filter((at, n) => n === 0 || at[0] !== corners[n - 1][0] || at[1] !== corners[n - 1][1]), was = mode;
    if (was === "measure" || was === "polygon") leave();
    if (was !== "polygon") return;
    if (ring.length < 3) { tell("多边形至少三个点。", "A polygon has three corners at least.", { bad: true }); return; }
    scratch([polygon([...ring, ring[0]])]);
    showSelection([...ring, ring[0]], place);
  });
  map.on("mousedown", (event) => { if (mode === "select" || mode === "buffer") dragging = [event.lngLat.lng, event.lngLat.lat]; });
  map.on("mousemove", (event) => { 
    if (!dragging) return;
    const to = [event.lngLat.lng, event.lngLat.lat];
    scratch([polygon(dragged(dragging, to))]);
    if (mode === "buffer") tell(`半径 ${metres(distance(dragging, to))}`, `Radius ${metres(distance(dragging, to))}`, { stay: true });
  });
  // On the window: the rectangle may end outside the map or over another panel.
  window.addEventListener("mouseup", (event) => {
    if (!dragging) return;
    const frame = map.getContainer().getBoundingClientRect(), end = map.unproject([event.clientX - frame.left, event.clientY - frame.top]);
    const from = dragging, to = [end.lng, end.lat], ring = dragged(from, to);
    // A radius may be drawn along one axis, a rectangle has two sides.
    const drawn = mode === "buffer" ? distance(from, to) > 0 : from[0] !== to[0] && from[1] !== to[1];
    dragging = null;
    leave();
    if (drawn) showSelection(ring, place);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && mode) { leave(); scratch([]); tell("", ""); } });
  document.documentElement.dataset.lang = lang();
}
