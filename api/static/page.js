"use strict";
// Draws the features of the page; there is no background map, so that nothing is asked of other servers.
(() => {
  const features = JSON.parse(document.getElementById("features").textContent);
  const map = L.map("map", { preferCanvas: true, attributionControl: false });
  const here = window.location.pathname.replace(/\/items(\/.*)?$/, "/items");
  const layer = L.geoJSON({ type: "FeatureCollection", features: features.filter((f) => f.geometry) }, {
    style: { color: "#2c7fb8", weight: 1.5, fillOpacity: 0.25 },
    pointToLayer: (_, at) => L.circleMarker(at, { radius: 5 }),
    onEachFeature: (feature, drawn) => {
      const link = document.createElement("a");
      link.href = `${here}/${feature.id}?f=html`;
      link.textContent = feature.properties.name_zh || feature.properties.name_en || feature.id;
      drawn.bindPopup(link);
    },
  }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  const bounds = layer.getBounds();
  if (bounds.isValid()) { map.fitBounds(bounds.pad(0.1), { maxZoom: 17 }); } else { map.setView([0, 0], 1); }
})();
