// Every request goes to the server that the page came from, with the cookie of the session and its CSRF value.
import { tell } from "./dom.js";

export const root = new URL("..", document.baseURI).href.replace(/\/$/, "");
// Who we are to the server; csrf goes with every request, so that another site cannot make this browser change something.
export const session = { authenticated: false, role: "public", district: "", csrf: "", known: false };
export const headers = () => (session.csrf ? { "X-CSRF-Token": session.csrf } : {});

export class Refused extends Error {
  // told: the user has been shown what was refused.
  constructor(status, message, told = true) {
    super(message);
    this.status = status;
    this.told = told;
  }
}

// quiet: the caller says itself what went wrong.
export async function ask(path, { signal, quiet = false, again = false, ...options } = {}) {
  let response;
  try {
    response = await fetch(root + path, { credentials: "same-origin", ...options, headers: { ...headers(), "Accept-Language": document.documentElement.lang, ...options.headers }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!quiet) tell("服务器没有应答，请稍后再试。", "The server does not answer; try again later.", { bad: true });
    throw new Refused(0, "offline", !quiet);
  }
  if (response.status === 403 && options.method && options.method !== "GET" && !again) {
    // Another tab may have logged in anew: its value, not ours, is the right one.
    const before = session.csrf;
    await readSession().catch(() => {});
    if (session.csrf !== before) return ask(path, { signal, quiet, again: true, ...options });
  }
  // A key that has run out makes a visitor of us, who is not told that there is anything: ask whether that is it.
  if ([403, 404].includes(response.status) && session.authenticated && !again && path !== "/portal/session") {
    await readSession().catch(() => {});
    if (!session.authenticated) { outOfSession(); throw new Refused(401, "no session"); }
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    const text = problem.detail || problem.title || String(response.status);
    if (response.status === 401) {
      Object.assign(session, { authenticated: false, csrf: "", known: false });
      document.dispatchEvent(new CustomEvent("baige:session"));
      outOfSession();
    } else if (!quiet) tell(text, text, { bad: true });
    throw new Refused(response.status, text, !quiet || response.status === 401);
  }
  return response;
}

const outOfSession = () => tell("密钥无效或已过期，请重新输入。", "The key is not valid or has expired; enter it again.", { bad: true, stay: true });

// While nobody asks anything: tiles and lists would fall silent one by one.
const CHECK_MS = 60000;
setInterval(async () => {
  if (!session.authenticated || document.hidden) return;
  await readSession().catch(() => {});
  if (session.known && !session.authenticated) outOfSession();
}, CHECK_MS);

export async function readSession() {
  const found = await (await ask("/portal/session", { quiet: true })).json();
  Object.assign(session, { district: "", csrf: "", ...found, known: true });
  document.dispatchEvent(new CustomEvent("baige:session"));
  return session;
}

export async function login(key) {
  const found = await (await ask("/portal/login", { method: "POST", again: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ key }) })).json();
  Object.assign(session, found, { known: true });
}

export const logout = () => ask("/portal/logout", { method: "POST" });

export const askJSON = async (path, options) => (await ask(path, options)).json();

export function itemsPath(layer, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== null && value !== undefined && value !== "") query.set(name, value);
  const text = query.toString();
  return `/collections/${encodeURIComponent(layer)}/items${text ? `?${text}` : ""}`;
}

export const items = (layer, parameters, options) => askJSON(itemsPath(layer, { f: "json", ...parameters }), options);
export const feature = (layer, id, options) => askJSON(`/collections/${encodeURIComponent(layer)}/items/${encodeURIComponent(id)}?f=json`, options);

export async function count(layer, parameters, options) {
  const page = await items(layer, { limit: 1, skipGeometry: true, ...parameters }, options);
  return page.numberMatched ?? null;
}

// A text in a CQL2 filter.
export const quoted = (text) => `'${String(text).replaceAll("'", "''")}'`;

// Address of a next page on this server, whatever name the server believes to have.
export function nextPath(page) {
  const link = (page.links || []).find((k) => k.rel === "next");
  if (!link) return null;
  const url = new URL(link.href, root);
  return url.pathname.slice(url.pathname.indexOf("/collections/")) + url.search;
}

// A photo as an address within this page: an <img> could not send the key.
const photos = new Map();
export function photoURL(id) {
  if (!photos.has(id)) {
    const asked = ask(`/portal/photos/${encodeURIComponent(id)}`, { quiet: true }).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob));
    asked.catch(() => photos.delete(id));
    photos.set(id, asked);
  }
  return photos.get(id);
}
