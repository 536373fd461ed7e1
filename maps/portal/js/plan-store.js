// A scenario being edited: its rows (collection camera_plan), kept on the server one by one, with If-Match, and nothing lost on the way.
// A row that could not be saved stays here and in the browser's storage until it is saved or given up.
import { ask, askJSON, feature, items, quoted, Refused } from "./server.js";

const COLLECTION = "camera_plan", WAITING = "baige-plan-waiting";
export const FIELDS = ["action", "camera", "name_zh", "admin_code", "camera_type", "azimuth_deg", "tilt_deg", "hfov_deg", "vfov_deg", "view_dist_m", "res_w_px", "mount_height_m", "ptz_type"];

export const plan = { name: "", rows: new Map(), types: [], names: [] };
const changed = () => document.dispatchEvent(new CustomEvent("baige:plan"));

const rowOf = (found) => ({ ...Object.fromEntries(FIELDS.map((name) => [name, found.properties[name] ?? null])), lon: found.geometry.coordinates[0], lat: found.geometry.coordinates[1], id: found.id, etag: "", state: "saved" });
const bodyOf = (row) => ({ type: "Feature", geometry: { type: "Point", coordinates: [row.lon, row.lat] }, properties: { scenario: plan.name, ...Object.fromEntries(FIELDS.map((name) => [name, row[name] ?? null])) } });
const json = { "Content-Type": "application/geo+json" };

export async function readScenarios() {
  const found = await askJSON("/scenarios");
  plan.types = found.types;
  plan.names = found.scenarios;
  return found.scenarios;
}

function waiting() {
  try { return JSON.parse(localStorage.getItem(WAITING) || "{}"); } catch { return {}; }
}

function keepWaiting() {
  const all = waiting(), mine = [...plan.rows.values()].filter((row) => row.state !== "saved");
  if (mine.length) all[plan.name] = mine;
  else delete all[plan.name];
  localStorage.setItem(WAITING, JSON.stringify(all));
}

export async function openScenario(name) {
  plan.name = name;
  plan.rows = new Map();
  if (name) {
    const page = await items(COLLECTION, { filter: `scenario = ${quoted(name)}`, limit: 2000 });
    for (const found of page.features) plan.rows.set(found.properties.camera, rowOf(found));
    for (const row of waiting()[name] || []) plan.rows.set(row.camera, { ...row, state: "unsaved" });
  }
  changed();
}

// The row as the server has it now, with its entity tag: what the next save is measured against.
export async function freshRow(row) {
  const response = await ask(`/collections/${COLLECTION}/items/${row.id}?f=json`);
  return { ...rowOf(await response.json()), etag: response.headers.get("ETag") || "" };
}

// Before a row is changed for the first time here, its entity tag is read.
export async function beginEdit(row) {
  if (!row.id || row.etag || row.state !== "saved") return row;
  const now = await freshRow(row);
  plan.rows.set(row.camera, now);
  changed();
  return now;
}

async function theirs(row) {
  if (row.id) return freshRow(row).catch((error) => { if (error.status === 404) return null; throw error; });
  const page = await items(COLLECTION, { filter: `scenario = ${quoted(plan.name)} AND camera = ${quoted(row.camera)}`, limit: 1 });
  return page.features.length ? freshRow(rowOf(page.features[0])) : null;
}

const saving = new Map(); // camera → the save under way; the next waits for it

// Saves a row as it stands now. Resolves to null, or to what the server has instead when another changed it ("conflict").
export function saveRow(camera) {
  const next = (saving.get(camera) || Promise.resolve()).catch(() => {}).then(() => save(camera));
  saving.set(camera, next);
  return next;
}

async function save(camera) {
  const row = plan.rows.get(camera);
  if (!row || row.state === "conflict") return null;
  const sent = JSON.stringify(bodyOf(row));
  row.state = "saving";
  changed();
  try {
    if (row.id) {
      row.etag ||= (await ask(`/collections/${COLLECTION}/items/${row.id}?f=json`, { quiet: true })).headers.get("ETag") || "";
      const response = await ask(`/collections/${COLLECTION}/items/${row.id}`, { method: "PUT", headers: { ...json, ...(row.etag ? { "If-Match": row.etag } : {}) }, body: sent, quiet: true });
      row.etag = response.headers.get("ETag") || "";
    } else {
      const response = await ask(`/collections/${COLLECTION}/items`, { method: "POST", headers: json, body: sent, quiet: true });
      row.id = response.headers.get("Location").split("/").pop();
      row.etag = (await ask(`/collections/${COLLECTION}/items/${row.id}?f=json`)).headers.get("ETag") || "";
    }
    row.state = JSON.stringify(bodyOf(row)) === sent ? "saved" : "unsaved";
    return null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if ([404, 409, 412].includes(error.status)) {
      row.state = "conflict";
      return { mine: row, theirs: await theirs(row) };
    }
    row.state = "unsaved";
    row.fault = error.status ? error.message : "";
    return null;
  } finally {
    keepWaiting();
    changed();
  }
}

// After a conflict: mine over theirs (measured against theirs as shown), or theirs instead of mine.
export async function settle(conflict, keepMine) {
  const { mine, theirs: other } = conflict;
  if (keepMine) {
    plan.rows.set(mine.camera, { ...mine, id: other?.id || "", etag: other?.etag || "", state: "unsaved" });
    keepWaiting();
    return saveRow(mine.camera);
  }
  if (other) plan.rows.set(mine.camera, other);
  else plan.rows.delete(mine.camera);
  keepWaiting();
  changed();
  return null;
}

// Puts what a row should say into the one that is kept, which a save under way may hold.
export function setRow(row) {
  const own = plan.rows.get(row.camera) || { id: "", etag: "", state: "unsaved" };
  for (const name of [...FIELDS, "lon", "lat", "from", "online"]) own[name] = row[name] ?? null;
  if (own.state !== "saving") own.state = "unsaved";
  plan.rows.set(row.camera, own);
  keepWaiting();
  changed();
  return own;
}

export async function dropRow(camera) {
  const row = plan.rows.get(camera);
  if (!row) return;
  if (row.id) {
    try {
      await ask(`/collections/${COLLECTION}/items/${row.id}`, { method: "DELETE", headers: row.etag ? { "If-Match": row.etag } : {} });
    } catch (error) {
      if (error.status === 412) return { mine: row, theirs: await theirs(row) };
      if (error.status !== 404) throw error;
    }
  }
  plan.rows.delete(camera);
  keepWaiting();
  changed();
  return null;
}

export const retry = async () => {
  const found = [];
  for (const row of [...plan.rows.values()]) if (row.state === "unsaved") found.push(await saveRow(row.camera));
  return found.filter(Boolean);
};

// What others have changed meanwhile; rows with changes of one's own stay as they are.
export async function refresh() {
  if (!plan.name) return;
  const name = plan.name, page = await items(COLLECTION, { filter: `scenario = ${quoted(name)}`, limit: 2000 });
  if (name !== plan.name) return;
  const there = new Map(page.features.map((found) => [found.properties.camera, rowOf(found)]));
  let differs = false;
  for (const [camera, row] of plan.rows) if (row.state === "saved" && !there.has(camera)) { plan.rows.delete(camera); differs = true; }
  for (const [camera, row] of there) {
    const own = plan.rows.get(camera);
    if (own && (own.state !== "saved" || FIELDS.every((field) => own[field] === row[field]) && own.lon === row.lon && own.lat === row.lat)) continue;
    plan.rows.set(camera, row);
    differs = true;
  }
  if (differs) changed();
}

// What the scenario brings around one camera, whose row may not be kept yet.
export function preview(row, signal) {
  const rows = [...plan.rows.values()].filter((other) => other.action && other.camera !== row.camera);
  const body = { focus: [row.camera], rows: [...rows, row].map((one) => Object.fromEntries([...FIELDS, "lon", "lat"].map((name) => [name, one[name]]))) };
  return askJSON("/scenarios/preview", { method: "POST", headers: { "Content-Type": "application/json" }, signal, quiet: true, body: JSON.stringify(body) });
}

export const registerCamera = (id) => feature("camera_site", id);
