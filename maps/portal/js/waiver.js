// A finding of a rule: article, source, distance with its accuracy band; and the form that lets it pass for a time.
import { both, el, labelled, said, tell } from "./dom.js";
import { ask, askJSON, Refused } from "./server.js";
import { catalogue, shown } from "./catalogue.js";
import { openFeature } from "./detail.js";

const metres = (v) => `${Math.round(v * 10) / 10} m`;
const mayGrant = () => ["officer", "planner", "admin"].includes(catalogue.role);

function band(p) {
  if (typeof p.distance_m !== "number") return null;
  const low = Math.max(0, p.distance_m - (p.accuracy_m ?? 0)), high = p.distance_m + (p.accuracy_m ?? 0);
  return el("p", {}, both("距离 ", "Distance "), el("b", {}, metres(p.distance_m)), p.accuracy_m === null || p.accuracy_m === undefined ? both("（精度未知）", " (accuracy unknown)") : both(`，精度 ±${metres(p.accuracy_m)}，即 ${metres(low)}–${metres(high)}`, ` ± ${metres(p.accuracy_m)}, that is ${metres(low)}–${metres(high)}`),
    typeof p.threshold_m === "number" ? both(`；规定 ${metres(p.threshold_m)}`, `; the rule says ${metres(p.threshold_m)}`) : null);
}

function form(id) {
  const reason = el("textarea", { id: "w-reason", rows: 3, required: true, minlength: 5, maxlength: 2000 });
  const until = el("input", { type: "date", id: "w-until", required: true, min: new Date(Date.now() + 86400000).toISOString().slice(0, 10) });
  const bad = el("p", { class: "bad", role: "alert" });
  return el("details", { class: "waiver" }, el("summary", {}, both("申请豁免", "Let it pass for a time")), el("form", { onsubmit: async (event) => {
    event.preventDefault();
    bad.replaceChildren();
    try {
      await ask("/rules/waivers", { method: "POST", quiet: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ finding: id, reason: reason.value.trim(), expires_on: until.value }) });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      // What was written stays in the form.
      bad.textContent = error.status === 0 ? said("服务器没有应答；内容未丢失，请稍后再试。", "The server does not answer; nothing is lost, try again later.") : error.message;
      return;
    }
    tell("豁免已记录。", "The waiver is on record.");
    await openFeature("rule_finding", id);
  } }, el("div", { class: "field" }, el("label", { for: "w-reason" }, both("理由（写事和依据，不写人名）", "Reason (the matter and its ground; no names of persons)")), reason),
  el("div", { class: "field" }, el("label", { for: "w-until" }, both("有效期至", "Valid until")), until), bad, el("button", { type: "submit", class: "main" }, both("记录豁免", "Record the waiver"))));
}

export async function findingParts(id, p) {
  const layer = catalogue.layers.get("rule_finding"), rule = await askJSON(`/rules/${encodeURIComponent(p.rule_id)}`, { quiet: true }).catch(() => null);
  const to = (name, other, label) => (catalogue.layers.has(name) && other ? el("button", { type: "button", onclick: () => openFeature(name, other, { fly: true }) }, label || other) : label || "");
  const made = el("section", { class: "finding" },
    el("p", {}, el("b", { class: `verdict ${p.verdict}` }, shown(layer.field.get("verdict"), p.verdict)), " ", rule ? both(rule.title_zh, rule.title_en) : p.rule_id),
    el("p", { class: "note" }, both("供人工判断，不是处罚依据。", "For a person to judge; not a ground for penalties.")),
    el("p", {}, both("依据：", "Source: "), rule ? both(rule.source_zh, rule.source_en) : p.source || "", p.article ? ` · ${p.article}` : ""),
    band(p),
    el("p", { class: "row" }, to(p.object_layer, p.object_id, p.object_name), p.other_id ? to(p.other_layer, p.other_id, p.other_name) : p.other_name || null),
    p.note_zh || p.note_en ? el("p", {}, both(p.note_zh || p.note_en, p.note_en || p.note_zh)) : null,
    p.waived ? el("p", { class: "waived" }, both(`已豁免至 ${p.waiver_until || "?"}：`, `Waived until ${p.waiver_until || "?"}: `), p.waiver_reason || "") : mayGrant() ? form(id) : null);
  labelled(made);
  return made;
}
