// What a permalink restores: view, layers with opacity, tab, selected feature, language. It lives in the address after "#".

export const state = { zoom: null, lat: null, lon: null, on: null, opacity: {}, tab: "layers", picked: "", lang: "", table: "", filter: "", metric: "", unit: "", layout: "", level: "", scenario: "", asof: "", swipe: "", order: "", pictures: "relief" };

export function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const at = (given.get("at") || "").split("/").map(Number);
  if (at.length === 3 && at.every(Number.isFinite)) [state.zoom, state.lat, state.lon] = at;
  if (given.has("on")) state.on = given.get("on").split(",").filter(Boolean);
  for (const part of (given.get("op") || "").split(",").filter(Boolean)) {
    const [name, value] = part.split(":");
    if (Number(value) >= 0 && Number(value) <= 1) state.opacity[name] = Number(value);
  }
  for (const name of ["tab", "picked", "lang", "table", "filter", "metric", "unit", "layout", "level", "scenario", "asof", "swipe", "order", "pictures"]) if (given.has(name)) state[name] = given.get(name);
  return state;
}

let timer = 0;
export function keepState() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const given = new URLSearchParams();
    if (state.zoom !== null) given.set("at", `${state.zoom.toFixed(2)}/${state.lat.toFixed(5)}/${state.lon.toFixed(5)}`);
    if (state.on) given.set("on", state.on.join(","));
    const opacity = Object.entries(state.opacity).filter(([, value]) => value !== 1).map(([name, value]) => `${name}:${value}`);
    if (opacity.length) given.set("op", opacity.join(","));
    for (const name of ["tab", "picked", "lang", "table", "filter", "metric", "unit", "layout", "level", "scenario", "asof", "swipe", "order", "pictures"]) if (state[name]) given.set(name, state[name]);
    history.replaceState(null, "", `#${given}`);
  }, 200);
}
