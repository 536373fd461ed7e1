// Use in the field: the page kept on the device, records sent when there is a network, and a badge that says what waits.
import { both, byId, el } from "./dom.js";
import { root } from "./server.js";
import { records, sendAll } from "./queue.js";
import { openQueue } from "./inspect.js";

const EVERY_MS = 30000;

async function badge() {
  const button = byId("queue"), waiting = await records().catch(() => []), failed = waiting.filter((r) => r.state === "failed").length;
  button.hidden = !waiting.length && navigator.onLine;
  button.classList.toggle("bad", failed > 0);
  button.replaceChildren(...[navigator.onLine ? null : both("离线 ", "Offline "), waiting.length ? both(`待发 ${waiting.length}`, `${waiting.length} to send`) : null, failed ? both(`，拒收 ${failed}`, `, ${failed} refused`) : null].filter(Boolean));
}

export function setUpField() {
  byId("bar").insertBefore(el("button", { type: "button", id: "queue", hidden: true, onclick: openQueue }), byId("key"));
  const send = () => sendAll().catch((error) => console.warn("records are kept, sending failed", error));
  document.addEventListener("baige:queue", badge);
  for (const name of ["online", "offline"]) addEventListener(name, badge);
  addEventListener("online", send);
  addEventListener("visibilitychange", () => { if (!document.hidden) send(); });
  setInterval(send, EVERY_MS);
  badge();
  send();
  if (navigator.serviceWorker) navigator.serviceWorker.register(`${root}/portal/sw.js`).catch((error) => console.warn("no service worker", error));
}
