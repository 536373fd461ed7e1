// The units (grid cells, communities, streets, counties, zones) coloured by a share of the coverage, or by any other layer counted in them.
import { said, tell } from "./dom.js";
import { askJSON } from "./server.js";
import { catalogue, title } from "./catalogue.js";
import { map, renewTiles } from "./map.js";

const UNITS = "coverage_by_grid", ZERO = "#f7f7f2", RAMP = ["#c7e9b4", "#7fcdbb", "#41b6c4", "#2c7fb8", "#253494"]; // ColorBrewer YlGnBu: told apart by the colour-blind and in grey
let painted = "", shownNow = null; // shownNow: heading and classes where they are not the layer's own

const number = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3))));

// "tally:layer:measure[:field]" as it stands in a link.
export const tallyOf = (metric) => {
  const [kind, layer, measure, field = ""] = metric.split(":");
  return kind === "tally" && catalogue.layers.get(layer)?.drawn ? { layer, measure, field } : null;
};

export function headingOf(metric) {
  const tally = tallyOf(metric);
  if (!tally) { const field = catalogue.layers.get(UNITS)?.field.get(metric); return field ? [field.zh, field.en] : [metric, metric]; }
  const layer = catalogue.layers.get(tally.layer), field = layer.field.get(tally.field);
  const [zh, en] = { count: ["数量", "number"], density: ["每平方公里数量", "number per km²"], sum: [`${field?.zh}之和`, `sum of ${field?.en}`], mean: [`${field?.zh}平均值`, `mean of ${field?.en}`] }[tally.measure] || ["", ""];
  const unit = field?.unit ? ` (${field.unit})` : "";
  return [`${layer.zh}：${zh}${unit}`, `${layer.en}: ${en}${unit}`];
}

// Heading and classes of a layer's legend as it is drawn now.
export function legendInForce(layer) {
  if (layer.name === UNITS && shownNow) return { heading: said(...shownNow.heading), classes: shownNow.classes };
  return { heading: title(layer), classes: layer.classes };
}

// Five classes of about as many units each, of those that are not zero; equal values stay in one class.
export function classesOf(values) {
  const known = values.filter((v) => v !== null && v !== 0).sort((a, b) => a - b), lows = [];
  for (let from = 0, n = RAMP.length; from < known.length && n > 0; n -= 1) {
    lows.push(known[from]);
    // The last of an even share, and all that equal it; fewer different values than classes have one class each.
    const last = new Set(known.slice(from)).size <= n ? known[from] : known[Math.min(known.length - 1, from + Math.ceil((known.length - from) / n) - 1)];
    while (from < known.length && known[from] <= last) from += 1;
  }
  const classes = lows.map((low, n) => {
    const inside = known.filter((v) => v >= low && (n + 1 === lows.length || v < lows[n + 1])), high = inside[inside.length - 1], text = low === high ? number(low) : `${number(low)}–${number(high)}`;
    return { zh: text, en: text, color: RAMP[Math.round(n * (RAMP.length - 1) / Math.max(1, lows.length - 1))], low };
  });
  return [...(values.includes(0) ? [{ zh: "0", en: "0", color: ZERO, zero: true }] : []), ...classes, ...(values.includes(null) ? [{ zh: "无数据", en: "No data", color: "#9a9a9a", unknown: true }] : [])];
}

function paint(colour, known) {
  map.setPaintProperty(`${UNITS}-fill`, "fill-color", colour);
  map.setPaintProperty(`${UNITS}-fill`, "fill-opacity", ["case", known, 0.65, 0.08]);
  map.setPaintProperty(`${UNITS}-outline`, "line-color", colour);
}

function paintShare(metric) {
  const layer = catalogue.layers.get(UNITS), steps = ["step", ["to-number", ["get", metric]], layer.classes[0].color];
  for (const c of layer.classes) if (c.low !== null) steps.push(c.low, c.color);
  const known = ["all", ["has", metric], ["!=", ["get", metric], null]];
  paint(["case", known, steps, layer.classes.find((c) => c.unknown).color], known);
  shownNow = metric === layer.by ? null : { heading: [`${layer.zh}：${headingOf(metric)[0]}`, `${layer.en}: ${headingOf(metric)[1]}`], classes: layer.classes };
}

// Values of the units, by their id; null where the layer has nothing to count: that is not zero.
const asking = new Map(); // what is under way: map and list ask for the same
export async function valuesOf(tally, unit) {
  const path = `/portal/tally/${tally.layer}?${new URLSearchParams({ unit, measure: tally.measure, ...(tally.field ? { field: tally.field } : {}) })}`;
  if (!asking.has(path)) asking.set(path, askJSON(path).finally(() => asking.delete(path)));
  const found = await asking.get(path);
  return found.matched ? found.units : null;
}

async function paintTally(metric, unit) {
  const tally = tallyOf(metric), units = await valuesOf(tally, unit), [zh, en] = headingOf(metric);
  if (!units) {
    tell("该图层没有要素：不等于没有问题，可能尚未计算。", "This layer has no features: that is not “nothing wrong”, it may not have been computed.", { bad: true });
    paint("#9a9a9a", ["literal", false]);
    shownNow = { heading: [zh, en], classes: [{ zh: "无数据", en: "No data", color: "#9a9a9a", unknown: true }] };
    return;
  }
  const classes = classesOf(Object.values(units)), of = (value) => (value === 0 ? classes.find((c) => c.zero) : classes.filter((c) => c.low !== undefined && value >= c.low).pop());
  const pairs = Object.entries(units).filter(([, value]) => value !== null), match = ["match", ["get", "id"]];
  for (const [id, value] of pairs) match.push(id, of(value).color);
  const known = pairs.length ? ["in", ["get", "id"], ["literal", pairs.map(([id]) => id)]] : ["literal", false];
  paint(pairs.length ? [...match, "#9a9a9a"] : "#9a9a9a", known);
  shownNow = { heading: [zh, en], classes };
}

// Colour the units of one kind. `legend` is told when the colours stand.
export async function paintCoverage(metric, unit) {
  if (!catalogue.layers.get(UNITS) || !map.getLayer(`${UNITS}-fill`)) return;
  if (unit !== painted) renewTiles(UNITS);
  painted = unit;
  if (tallyOf(metric)) await paintTally(metric, unit);
  else paintShare(metric);
  document.dispatchEvent(new CustomEvent("baige:painted"));
}
