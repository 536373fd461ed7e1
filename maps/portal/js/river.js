// What lies up and down the river of an intake or outfall, in the order in which the water passes.
import { both, el } from "./dom.js";
import { items } from "./server.js";
import { catalogue, nameOf, stationing } from "./catalogue.js";
import { stateIcon } from "./states.js";
import { known, rowOf } from "./outfalls.js";
import { openFeature } from "./detail.js";

const NEAR_M = 20000, SHOWN = 30;
const km = (m) => `${(m / 1000).toFixed(m < 10000 ? 2 : 1)} km`;

export async function riverOf(name, id, properties) {
  const { receiving_water: water, chainage_m: here } = properties;
  if (!water || typeof here !== "number") return null;
  await rowOf(id);
  const intakes = catalogue.layers.has("water_intake") ? (await items("water_intake", { limit: 200, skipGeometry: true })).features : [];
  const all = [
    ...known.rows.filter((row) => row.receiving_water === water && typeof row.chainage_m === "number").map((row) => ({ layer: "outfall", id: row.id, name: nameOf(catalogue.layers.get("outfall"), row, row.id), at: row.chainage_m, state: row.state })),
    ...intakes.filter((f) => f.properties.receiving_water === water && typeof f.properties.chainage_m === "number").map((f) => ({ layer: "water_intake", id: f.id, name: nameOf(catalogue.layers.get("water_intake"), f.properties, f.id), at: f.properties.chainage_m })),
  ].filter((thing) => thing.id !== id && Math.abs(thing.at - here) <= NEAR_M);
  const list = (things) => (things.length ? el("ul", { class: "plain" }, things.slice(0, SHOWN).map((thing) => el("li", {}, el("button", { type: "button", onclick: () => openFeature(thing.layer, thing.id, { fly: true }) },
    thing.layer === "outfall" ? stateIcon(thing.state) : el("span", { class: "intake", role: "img", "aria-label": "取水口 intake" }, "◆"), el("span", {}, thing.name), el("small", {}, `${stationing(thing.at)} · ${km(Math.abs(thing.at - here))}`))))) : el("p", { class: "note" }, both("没有", "None")));
  const up = all.filter((thing) => thing.at < here).sort((a, b) => b.at - a.at), down = all.filter((thing) => thing.at >= here).sort((a, b) => a.at - b.at);
  return el("details", { class: "river", open: name === "water_intake" }, el("summary", {}, both(`上下游 ${NEAR_M / 1000} 公里（沿${water}轴线）`, `${NEAR_M / 1000} km up and down the river (along its axis)`)),
    el("h4", {}, both(`上游 ${up.length}`, `Upstream ${up.length}`)), list(up), el("h4", {}, both(`下游 ${down.length}`, `Downstream ${down.length}`)), list(down));
}
