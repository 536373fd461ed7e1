// The tree of layers by theme: switch, count, legend, opacity, table.
import { both, el, labelled, legendOf, said } from "./dom.js";
import { catalogue } from "./catalogue.js";
import { hasPicture, PICTURES, pictureOn, setLayer, setOpacity, setPicture, sortLayers } from "./map.js";
import { keepState, state } from "./state.js";

const boxes = new Map();
const FIRST = new Set(["coverage_gap", "bank_coverage", "outfall", "site_proposal"]);

// Month and day; the year, too, where it is another.
const dayOf = (day) => (day.getUTCFullYear() === new Date().getUTCFullYear() ? "" : `${day.getUTCFullYear()}-`) + day.toISOString().slice(5, 10);

export const isOn = (name) => (state.on || []).includes(name);

export function firstLayers() {
  return [...catalogue.layers.values()].filter((layer) => layer.visible || (FIRST.has(layer.name) && layer.count > 0)).map((layer) => layer.name);
}

export function show(name, on = true) {
  if (!catalogue.layers.get(name)?.drawn) return;
  const others = (state.on || []).filter((other) => other !== name);
  state.on = on ? [...others, name] : others;
  setLayer(name, on);
  if (state.order) sortLayers();
  const box = boxes.get(name);
  if (box) {
    box.checked = on;
    box.closest(".layer").querySelector(".legend").hidden = !on;
  }
  keepState();
  document.dispatchEvent(new CustomEvent("baige:layers"));
}

function row(layer, openTable) {
  const box = el("input", { type: "checkbox", id: `on-${layer.name}`, onchange: () => show(layer.name, box.checked) });
  box.checked = isOn(layer.name);
  boxes.set(layer.name, box);
  const legend = legendOf(layer.legend);
  legend.hidden = !box.checked;
  const value = state.opacity[layer.name] ?? 1;
  const slider = el("input", { type: "range", min: 0, max: 1, step: 0.05, value, id: `opacity-${layer.name}`, oninput: () => {
    state.opacity[layer.name] = Number(slider.value);
    setOpacity(layer.name, Number(slider.value));
    keepState();
  } });
  const opacity = el("div", { class: "opacity", hidden: true }, el("label", { for: slider.id }, both("不透明度", "Opacity")), slider,
    el("button", { type: "button", class: "more", "data-label-zh": `${layer.zh}：上移一层`, "data-label-en": `${layer.en}: one up`, onclick: () => shift(layer.name, 1) }, "↑"), el("button", { type: "button", class: "more", "data-label-zh": `${layer.zh}：下移一层`, "data-label-en": `${layer.en}: one down`, onclick: () => shift(layer.name, -1) }, "↓"),
    el("button", { type: "button", onclick: () => openTable(layer.name) }, both("属性表", "Table")));
  const more = el("button", { type: "button", class: "more", "aria-expanded": "false", "data-label-zh": `${layer.zh}：不透明度和属性表`, "data-label-en": `${layer.en}: opacity and table`, onclick: () => {
    opacity.hidden = !opacity.hidden;
    more.setAttribute("aria-expanded", String(!opacity.hidden));
  } }, "⋯");
  const number = layer.count === null ? "?" : layer.count.toLocaleString("en"), day = layer.changed ? new Date(layer.changed) : null;
  return el("div", { class: `layer${layer.count === 0 ? " empty" : ""}` },
    el("div", {}, box, el("label", { for: box.id, title: `${layer.about[0]}\n${layer.about[1]}` }, both(layer.zh, layer.en)), day ? el("time", { class: "count", datetime: layer.changed, title: `${said("更新于", "Changed")} ${layer.changed.slice(0, 16).replace("T", " ")} UTC` }, dayOf(day)) : null, el("span", { class: "count" }, number), more),
    opacity, legend);
}

function pictureRow(name, zh, en) {
  const box = el("input", { type: "checkbox", id: `on-${name}`, onchange: () => setPicture(name, box.checked) });
  box.checked = pictureOn(name);
  return el("div", { class: "layer" }, el("div", {}, box, el("label", { for: box.id }, both(zh, en))));
}

// Moves a layer one place up or down among those that are on; the order stands in the link.
function shift(name, step) {
  const on = sortLayers().filter((other) => isOn(other)), at = on.indexOf(name), to = at + step;
  if (at < 0 || to < 0 || to >= on.length) return;
  on.splice(to, 0, ...on.splice(at, 1));
  state.order = on.join(",");
  sortLayers();
  keepState();
  document.dispatchEvent(new CustomEvent("baige:layers"));
}

export function layersPanel(openTable) {
  const panel = el("section");
  const runs = catalogue.runs.map((run) => el("span", {}, `${run.kind} ${run.id.slice(0, 8)} · ${run.at}`));
  if (runs.length) panel.append(el("p", { class: "note" }, both("分析运行：", "Runs: "), ...runs.flatMap((run, n) => (n ? ["；", run] : [run]))));
  for (const theme of catalogue.themes) {
    const members = theme.layers.map((name) => catalogue.layers.get(name)).filter((layer) => layer.drawn).reverse();
    if (!members.length) continue;
    const details = el("details", { class: "theme" }, el("summary", {}, both(theme.zh, theme.en)), members.map((layer) => row(layer, openTable)), theme.name === "base" ? PICTURES.filter(([name]) => hasPicture(name)).map(([name, zh, en]) => pictureRow(name, zh, en)) : []);
    details.open = theme.name === "result" || members.some((layer) => isOn(layer.name) && layer.kind !== "base");
    panel.append(details);
  }
  labelled(panel);
  return panel;
}
