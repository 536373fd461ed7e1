// Every request goes to the server that the page came from, with the access key if there is one.
import { tell } from "./dom.js";

const KEY = "baige-key";
export const root = new URL("..", document.baseURI).href.replace(/\/$/, "");
export const key = () => sessionStorage.getItem(KEY) || "";
export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}
export const headers = () => (key() ? { "X-API-Key": key() } : {});

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// quiet: the caller says itself what went wrong.
export async function ask(path, { signal, quiet = false, ...options } = {}) {
  let response;
  try {
    // Without credentials of the browser's own: a 401 must come to us, not open the browser's password window.
    response = await fetch(root + path, { credentials: "omit", ...options, headers: { ...headers(), "Accept-Language": document.documentElement.lang, ...options.headers }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!quiet) tell("服务器没有应答，请稍后再试。", "The server does not answer; try again later.", { bad: true });
    throw new Refused(0, "offline");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    const text = problem.detail || problem.title || String(response.status);
    if (response.status === 401) {
      setKey("");
      tell("密钥无效或已过期，请重新输入。", "The key is not valid or has expired; enter it again.", { bad: true, stay: true });
    } else if (!quiet) tell(text, text, { bad: true });
    throw new Refused(response.status, text);
  }
  return response;
}

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
