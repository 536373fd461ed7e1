// Records made in the field, kept on the device until the server has confirmed each of them. Everything is written down here first and
// sent afterwards; ids are made here, so that sending again after a lost answer does no harm.
import { ask, readSession, Refused, session } from "./server.js";

// A connection that says nothing any more must not hold up the rest.
const RECORD_MS = 30000, PHOTO_MS = 180000;
const NAME = "baige-field", RECORDS = "records", KEPT = "kept", SENT_SHOWN = 20;
let opening = null;

function database() {
  opening ??= new Promise((done, fail) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => { asked.result.createObjectStore(RECORDS, { keyPath: "id" }); asked.result.createObjectStore(KEPT); };
    asked.onsuccess = () => done(asked.result);
    asked.onerror = () => { opening = null; fail(asked.error); };
  });
  return opening;
}

async function inStore(store, mode, action) {
  const db = await database();
  return new Promise((done, fail) => {
    const transaction = db.transaction(store, mode), request = action(transaction.objectStore(store));
    transaction.oncomplete = () => done(request?.result);
    transaction.onerror = transaction.onabort = () => fail(transaction.error);
  });
}

export const keep = (key, value) => inStore(KEPT, "readwrite", (store) => store.put(value, key));
export const kept = (key) => inStore(KEPT, "readonly", (store) => store.get(key));
export const forget = (key) => inStore(KEPT, "readwrite", (store) => store.delete(key));
export const records = async () => (await inStore(RECORDS, "readonly", (store) => store.getAll())).sort((a, b) => a.made - b.made);
const write = (record) => inStore(RECORDS, "readwrite", (store) => store.put(record));
const told = () => document.dispatchEvent(new CustomEvent("baige:queue"));

// crypto.randomUUID is there over https only.
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

// photos: [{ id, blob }]
export async function put(record) {
  await write({ made: Date.now(), state: "waiting", stored: false, error: "", tries: 0, ...record });
  told();
}

export async function discard(id) {
  await inStore(RECORDS, "readwrite", (store) => store.delete(id));
  told();
}

export async function again(id) {
  const record = (await records()).find((r) => r.id === id);
  if (record) await write({ ...record, state: "waiting", error: "" });
  told();
  return sendAll();
}

// Whether a refusal lies in the record itself; otherwise it waits for a network, a server or a login.
const isFinal = (status) => status >= 400 && ![401, 403, 408, 425, 429].includes(status) && status < 500;

async function sendOne(record) {
  const change = async (values) => { Object.assign(record, values); await write(record); told(); };
  try {
    await change({ tries: record.tries + 1 });
    if (!record.stored) {
      await ask(`/portal/inspections/${record.id}`, { method: "PUT", quiet: true, signal: AbortSignal.timeout(RECORD_MS), headers: { "Content-Type": "application/json" }, body: JSON.stringify(record.body) });
      await change({ stored: true });
    }
    for (const photo of record.photos) {
      if (photo.stored) continue;
      await ask(`/portal/inspections/${record.id}/photos/${photo.id}`, { method: "PUT", quiet: true, signal: AbortSignal.timeout(PHOTO_MS), headers: { "Content-Type": photo.blob.type }, body: photo.blob });
      photo.stored = true;
      await change({});
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    await change({ state: isFinal(error.status) ? "failed" : "waiting", error: error.message, status: error.status });
    return isFinal(error.status);
  }
  const sent = (await kept("sent")) || [];
  await keep("sent", [{ id: record.id, name: record.name, at: Date.now(), photos: record.photos.length }, ...sent].slice(0, SENT_SHOWN));
  await discard(record.id);
  document.dispatchEvent(new CustomEvent("baige:recorded", { detail: { outfall: record.body.outfall_id } }));
  return true;
}

let sending = false, wanted = false;

async function sendWaiting() {
  if (!(await records()).some((record) => record.state === "waiting")) return;
  if (!session.known) await readSession().catch(() => {});
  for (const record of await records()) {
    if (record.state === "waiting" && !(await sendOne(record))) break;
  }
}

export async function sendAll() {
  if (sending) { wanted = true; return; }
  sending = true;
  try {
    do {
      wanted = false;
      // One tab sends at a time, where the browser can say so; the server bears two as well.
      if (navigator.locks) await navigator.locks.request("baige-send", { ifAvailable: true }, (lock) => (lock ? sendWaiting() : null));
      else await sendWaiting();
    } while (wanted);
  } finally {
    sending = false;
  }
}
