// From street zoom, where each camera looks: nominal sectors, not cut by anything, only where the direction is known.
import { map, setShapes } from "./map.js";
import { isOn } from "./layers.js";

const LAYERS = ["camera_site", "site_proposal"], FROM_ZOOM = 15.5, MOST = 1200, METRE = 1 / 111320;

export function sector([lon, lat], azimuth, width, range) {
  const steps = Math.max(8, Math.ceil(width / 7));
  const across = METRE / Math.cos(lat * Math.PI / 180), ring = width >= 360 ? [] : [[lon, lat]];
  for (let n = 0; n <= steps; n += 1) {
    const bearing = (azimuth - width / 2 + width * n / steps) * Math.PI / 180;
    ring.push([lon + range * Math.sin(bearing) * across, lat + range * Math.cos(bearing) * METRE]);
  }
  return [...ring, ring[0]];
}

export function setUpSectors() {
  map.addSource("sectors", { type: "geojson", data: { type: "FeatureCollection", features: [] } });
  map.addLayer({ id: "sectors-fill", type: "fill", source: "sectors", paint: { "fill-color": ["get", "color"], "fill-opacity": ["interpolate", ["linear"], ["zoom"], 15.5, 0.05, 18, 0.16] } }, "names");
  map.addLayer({ id: "sectors-line", type: "line", source: "sectors", paint: { "line-color": ["get", "color"], "line-width": 0.9, "line-opacity": ["interpolate", ["linear"], ["zoom"], 15.5, 0.35, 17.5, 0.9], "line-dasharray": [3, 3] } }, "names");
  sectorsOn(map);
}

// Kept up to date on a map that has the layers: this one, or the other side of the swipe.
export function sectorsOn(map) {
  let last = "";
  const draw = () => {
    const features = [];
    for (const name of LAYERS) {
      if (map.getZoom() < FROM_ZOOM || !isOn(name) || !map.getLayer(`${name}-point`)) continue;
      const seen = new Set();
      for (const { properties: p, geometry } of map.queryRenderedFeatures({ layers: [`${name}-point`] })) {
        if (seen.has(p.id) || p.azimuth_deg === undefined || !p.view_dist_m || features.length >= MOST) continue;
        seen.add(p.id);
        const color = { on: "#2c7fb8", off: "#d95f0e" }[p.net_status] || (name === "site_proposal" ? "#009e73" : "#9e9e9e");
        features.push({ type: "Feature", properties: { color }, geometry: { type: "Polygon", coordinates: [sector(geometry.coordinates, p.azimuth_deg, p.hfov_deg || 60, p.view_dist_m)] } });
      }
    }
    const now = JSON.stringify(features.length ? features : []);
    if (now === last) return;
    last = now;
    setShapes(map, "sectors", features);
  };
  map.on("idle", draw);
  document.addEventListener("baige:layers", () => { if (map.getSource("sectors")) draw(); });
}
