// What lies up and down the river of an intake or outfall, in the order in which the water passes, across tributaries.
import { both, el } from "./dom.js";
import { askJSON } from "./server.js";
import { catalogue, nameOf } from "./catalogue.js";
import { stateIcon } from "./states.js";
import { rowOf } from "./outfalls.js";
import { openFeature } from "./detail.js";

const WITHIN_M = 20000, SHOWN = 40;
const km = (m) => `${(m / 1000).toFixed(m < 10000 ? 2 : 1)} km`;

async function list(things) {
  if (!things.length) return el("p", { class: "note" }, both("没有", "None"));
  const rows = await Promise.all(things.slice(0, SHOWN).map(async (thing) => ({ ...thing, state: thing.layer === "outfall" ? (await rowOf(thing.id))?.state : null })));
  return el("ol", { class: "ranked" }, rows.map((thing) => el("li", {}, el("button", { type: "button", onclick: () => openFeature(thing.layer, thing.id, { fly: true }) },
    thing.layer === "outfall" ? stateIcon(thing.state ?? -1) : el("span", { class: "intake", role: "img", "aria-label": "取水口 intake" }, "◆"), el("span", {}, nameOf(catalogue.layers.get(thing.layer), thing, thing.id)), el("small", {}, `${thing.station} · ${km(thing.travel_m)}`)))));
}

const ask = async (way, query) => (await askJSON(`/river/${way}?${new URLSearchParams(query)}`, { quiet: true })).features;

// An intake asks which outfalls lie above it; an outfall which intakes its water comes to, and which outfalls lie above.
export async function riverOf(name, id) {
  const up = el("div"), down = el("div"), made = el("details", { class: "river" }, el("summary", {}, name === "water_intake" ? both(`上游 ${WITHIN_M / 1000} 公里内的排污口`, `Outfalls within ${WITHIN_M / 1000} km upstream`) : both("上下游", "Up and down the river")), down, up);
  let read = false;
  async function fill() {
    if (!made.open || read) return;
    read = true;
    try {
      const above = await ask("upstream", { feature: id, of: name, layer: "outfall", within: WITHIN_M });
      up.replaceChildren(el("h4", {}, both(`上游排污口 ${above.length}（水流先后，近者在前）`, `Outfalls upstream: ${above.length}, the nearest first`)), await list(above.filter((thing) => thing.id !== id)));
      if (name === "outfall" && catalogue.layers.has("water_intake")) {
        const below = await ask("downstream", { feature: id, of: name, layer: "water_intake" });
        down.replaceChildren(el("h4", {}, both("下游取水口", "Intakes downstream")), await list(below));
      }
    } catch (error) {
      read = false;
      up.replaceChildren(el("p", { class: "note" }, error.status === 0 ? both("需要网络。", "Needs the network.") : error.message));
    }
  }
  made.addEventListener("toggle", fill);
  made.open = name === "water_intake";
  await fill();
  return made;
}
