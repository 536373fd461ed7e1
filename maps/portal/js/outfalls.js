// The outfalls with their states, read once and kept on the device for days without a network.
import { askJSON, Refused } from "./server.js";
import { catalogue } from "./catalogue.js";
import { forget, keep, kept } from "./queue.js";

const CACHE = "outfalls";
export const known = { rows: [], features: [], day: "", at: null, rule: null, offline: false };
let reading = null;

const today = () => new Date().toISOString().slice(0, 10);

function take(page, { at, offline }) {
  Object.assign(known, { features: page.features, rows: page.features.map((f) => ({ ...f.properties, lon: f.geometry.coordinates[0], lat: f.geometry.coordinates[1] })), day: page.day, rule: page.rule, at, offline });
}

async function read(day) {
  try {
    const page = await askJSON(`/portal/outfalls?day=${day}`);
    take(page, { at: Date.now(), offline: false });
    if (catalogue.role !== "public") await keep(CACHE, { page, at: known.at, role: catalogue.role }).catch(() => {});
  } catch (error) {
    if (!(error instanceof Refused) || (error.status !== 0 && error.status < 500)) throw error;
    const old = await kept(CACHE);
    if (!old) throw error;
    take(old.page, { at: old.at, offline: true });
  }
  return known;
}

export async function readOutfalls(day = known.day || today()) {
  reading = read(day);
  return reading;
}

// Synthetic data ends in the past: with today's date all of it would be unknown and overdue. Then its last day is shown, and said.
export async function firstReading() {
  await readOutfalls(today());
  const last = known.rows.map((row) => row.last_inspected_at || "").sort().at(-1)?.slice(0, 10);
  if (catalogue.synthetic && !known.offline && last && known.rows.every((row) => ["stale", "none", "offline"].includes(row.state_basis))) await readOutfalls(last);
  return known;
}

export async function rowOf(id) {
  if (!reading) reading = firstReading();
  await reading.catch(() => {});
  return known.rows.find((row) => row.id === id) || null;
}

export const forgetOutfalls = () => forget(CACHE);
