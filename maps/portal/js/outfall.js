// What hangs on an outfall: its state and why, who watches it, inspections with photos, samples against limits, findings.
import { both, el, said } from "./dom.js";
import { askJSON, items, photoURL, quoted } from "./server.js";
import { catalogue, hasData, nameOf, shown } from "./catalogue.js";
import { stateIcon, stateLine, stateOf } from "./states.js";
import { chart } from "./chart.js";
import { mayRecord, openForm } from "./inspect.js";
import { rowOf } from "./outfalls.js";
import { openFeature } from "./detail.js";
import { riverOf } from "./river.js";

const section = (zh, en, ...content) => el("section", {}, el("h3", {}, both(zh, en)), ...content);
const link = (label, note, go) => el("li", {}, el("button", { type: "button", onclick: go }, el("span", {}, ""), el("span", {}, label), el("small", {}, note)));

async function state(id) {
  const row = await rowOf(id);
  if (!row) return null;
  const due = row.due_on ? el("p", { class: row.days_overdue ? "bad" : "" }, row.days_overdue ? both(`巡查逾期 ${row.days_overdue} 天（期限 ${row.due_on}）`, `Inspection ${row.days_overdue} days overdue (due ${row.due_on})`) : both(`下次巡查不晚于 ${row.due_on}`, `Next inspection by ${row.due_on}`)) : null;
  return el("section", { class: "now" }, stateLine(row), due,
    mayRecord() ? el("button", { type: "button", class: "main", id: "record", onclick: () => openForm(row) }, both("记录巡查", "Record an inspection")) : null);
}

const NEAR_M = 120;
async function camerasOf([lon, lat]) {
  const point = `POINT(${lon} ${lat})`;
  if (hasData("camera_view")) {
    const views = await items("camera_view", { filter: `S_INTERSECTS(geom, ${point})`, limit: 20, skipGeometry: true }), ids = [...new Set(views.features.map((f) => f.properties.camera_id))];
    return { proven: true, found: ids.length ? (await items("camera_site", { ids: ids.join(","), limit: 20, skipGeometry: true })).features : [] };
  }
  return { proven: false, found: (await items("camera_site", { filter: `S_DWITHIN(geom, ${point}, ${NEAR_M})`, limit: 8, skipGeometry: true })).features };
}

async function watchers(id, properties) {
  if (!catalogue.layers.has("outfall_watch")) return null;
  const layer = catalogue.layers.get("outfall_watch"), page = await items("outfall_watch", { filter: `outfall_id = ${quoted(id)}`, limit: 1, skipGeometry: true });
  if (!page.features.length) return null;
  const p = page.features[0].properties, camera = catalogue.layers.get("camera_site"), net = camera?.field.get("net_status");
  const { proven, found } = camera ? await camerasOf(properties.at) : { found: [] };
  return section("谁在看", "Who watches it", el("p", {}, el("b", {}, shown(layer.field.get("watch_state"), p.watch_state)), " ",
    el("small", {}, both(`在线 ${p.cameras_online ?? 0}，确定 ${p.cameras_confirmed ?? 0}，可能 ${p.cameras_possible ?? 0}${p.best_density_px_m ? `；最高 ${Math.round(p.best_density_px_m)} px/m` : ""}`, `online ${p.cameras_online ?? 0}, confirmed ${p.cameras_confirmed ?? 0}, possible ${p.cameras_possible ?? 0}${p.best_density_px_m ? `; best ${Math.round(p.best_density_px_m)} px/m` : ""}`)),
    p.cause ? el("small", {}, " · ", shown(layer.field.get("cause"), p.cause)) : null),
  found.length ? el("p", { class: "note" }, proven ? both("视域含此处的摄像机：", "Cameras whose view holds this place:") : both(`${NEAR_M} 米内的摄像机（未计算单机视域，不表示都看得到）：`, `Cameras within ${NEAR_M} m (no views are stored: not all of them need see it):`)) : null,
  el("ul", { class: "plain" }, found.map((f) => link(nameOf(camera, f.properties, f.id), shown(net, f.properties.net_status) || said("在线状态未知", "network state unknown"), () => openFeature("camera_site", f.id, { fly: true })))));
}

// A photo needs the key in a header, so that it is fetched and shown from memory.
function photo(id, label) {
  const image = el("img", { alt: label, loading: "lazy" });
  const made = el("a", { class: "photo", target: "_blank", rel: "noopener", "aria-label": label }, image);
  photoURL(id).then((url) => { image.src = url; made.href = url; }).catch(() => made.replaceChildren(both("照片无法读取", "photo not readable")));
  return made;
}

async function inspections(id) {
  const layer = catalogue.layers.get("outfall_inspection");
  if (!layer || catalogue.role === "public") return null;
  const { inspections: found } = await askJSON(`/portal/outfalls/${id}/inspections`);
  if (!found.length) return section("巡查记录", "Inspections", el("p", { class: "note" }, both("还没有巡查记录。", "No inspections yet.")));
  const one = (row) => {
    const when = shown(layer.field.get("inspected_at"), row.inspected_at), parts = ["colour", "turbidity", "odour"].map((name) => [layer.field.get(name), row[name]]).filter(([, value]) => value && value !== "unknown");
    return el("li", {}, el("p", {}, stateIcon(row.discharging), " ", el("b", {}, when), " ", stateOf(row.discharging) && both(stateOf(row.discharging).zh, stateOf(row.discharging).en)),
      parts.length ? el("p", { class: "note" }, parts.map(([field, value]) => `${said(field.zh, field.en)} ${shown(field, value)}`).join(" · ")) : null,
      row.note ? el("p", {}, row.note) : null,
      row.photos?.length ? el("p", { class: "photos" }, row.photos.map((p, n) => photo(p, said(`${when} 的照片 ${n + 1}`, `Photo ${n + 1} of ${when}`)))) : null);
  };
  const rest = found.slice(4);
  return section("巡查记录", "Inspections", el("ol", { class: "history" }, found.slice(0, 4).map(one)),
    rest.length ? el("details", {}, el("summary", {}, both(`更早的 ${rest.length} 条`, `${rest.length} earlier`)), el("ol", { class: "history" }, rest.map(one))) : null);
}

async function samples(id, properties) {
  const layer = catalogue.layers.get("outfall_sample");
  if (!layer) return null;
  const page = await items("outfall_sample", { filter: `outfall_id = ${quoted(id)}`, sortby: "-sampled_at", limit: 1000 });
  if (!page.features.length) return null;
  const groups = new Map();
  for (const { properties: p } of page.features) groups.set(p.pollutant, [...(groups.get(p.pollutant) || []), p]);
  return section("水质监测", "Samples", ...[...groups].map(([pollutant, rows]) => {
    const name = shown(layer.field.get("pollutant"), pollutant), unit = rows[0].unit || "", quality = catalogue.quality.find((q) => q.pollutant === pollutant && q.unit === unit) || null;
    return el("div", {}, el("h4", {}, `${name}${unit ? ` (${unit})` : ""}`), chart(rows.map((p) => [Date.parse(p.sampled_at), p.value]), { limit: rows[0].limit_value ?? null, quality, target: properties.wq_target || "", name, unit }));
  }));
}

async function findings(id) {
  const layer = catalogue.layers.get("rule_finding");
  if (!layer) return null;
  const page = await items("rule_finding", { filter: `object_id = ${quoted(id)}`, limit: 20, skipGeometry: true });
  if (!page.features.length) return null;
  return section("规则发现", "Rule findings", el("ul", { class: "plain" }, page.features.map(({ id: finding, properties: p }) => link(`${p.rule_id} ${shown(layer.field.get("verdict"), p.verdict)}${p.waived ? said("（已豁免）", " (waived)") : ""}`, p.article || "", () => openFeature("rule_finding", finding)))));
}

const failed = (error) => el("p", { class: "note bad" }, both(`此部分未能读取：${error.message}`, `This part could not be read: ${error.message}`));
const alone = () => el("p", { class: "note bad" }, both("离线：值守摄像机、巡查记录、水质监测和规则发现要连上服务器才能看到。", "Offline: watching cameras, inspections, samples and findings can be seen once the server answers."));
export function outfallParts(id, properties) {
  let told = false; // without a server all parts fail alike: told once
  const caught = (error) => {
    if (error.status !== 0) return failed(error);
    if (told) return null;
    told = true;
    return alone();
  };
  return [state(id), watchers(id, properties), inspections(id), samples(id, properties), findings(id), riverOf("outfall", id)].map((part) => part.catch(caught));
}

