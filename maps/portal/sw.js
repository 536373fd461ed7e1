// Kept on the device: the page's own files and the description of the layers; never features, tiles or photos.
// The network comes first, so that a page is never older than the server while there is one.
const CACHE = `baige-shell-${VERSION}`, WAIT_MS = 5000;
const scope = self.registration.scope, kept = new Set([...SHELL, "index.html", "config.json"].map((name) => new URL(name, scope).pathname));

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(SHELL.map((name) => new URL(name, scope).href))).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter((name) => name.startsWith("baige-shell-") && name !== CACHE).map((name) => caches.delete(name)))));
});

async function networkFirst(request, path) {
  const cache = await caches.open(CACHE), old = await cache.match(path, { ignoreVary: true });
  const timer = old ? AbortSignal.timeout(WAIT_MS) : undefined;
  try {
    const answer = await fetch(request, { signal: timer });
    if (answer.ok) await cache.put(path, answer.clone());
    return answer.status >= 502 && old ? old : answer;
  } catch (error) {
    if (old) return old;
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && url.origin === self.location.origin && kept.has(url.pathname)) event.respondWith(networkFirst(event.request, url.pathname));
});
