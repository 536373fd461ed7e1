// Asks for one rectangle on the map; Escape gives up. Works with mouse, pen and finger.
import { said, tell } from "./dom.js";
import { map, scratch } from "./map.js";

let stop = null;
const ring = (a, b) => ({ type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [[[a.lng, a.lat], [b.lng, a.lat], [b.lng, b.lat], [a.lng, b.lat], [a.lng, a.lat]]] } });

export function drawRectangle() {
  stop?.(null);
  return new Promise((done) => {
    const canvas = map.getCanvasContainer(), controller = new AbortController(), { signal } = controller;
    let from = null;
    const at = (event) => { const frame = canvas.getBoundingClientRect(); return map.unproject([event.clientX - frame.left, event.clientY - frame.top]); };
    stop = (box) => {
      controller.abort();
      stop = null;
      map.dragPan.enable();
      map.touchZoomRotate.enable();
      map.touchZoomRotate.disableRotation();
      canvas.style.touchAction = "";
      map.getCanvas().style.cursor = "";
      if (!box) scratch([]);
      tell("", "");
      done(box);
    };
    map.dragPan.disable();
    map.touchZoomRotate.disable();
    canvas.style.touchAction = "none";
    map.getCanvas().style.cursor = "crosshair";
    tell("在地图上拖出一个矩形，Esc 取消。", "Drag a rectangle on the map; Escape gives up.", { stay: true });
    canvas.addEventListener("pointerdown", (event) => { from = at(event); event.stopPropagation(); }, { signal, capture: true });
    addEventListener("pointermove", (event) => { if (from) scratch([ring(from, at(event))]); }, { signal });
    addEventListener("pointerup", (event) => {
      if (!from) return;
      const to = at(event);
      if (from.lng === to.lng || from.lat === to.lat) { from = null; return; }
      stop([Math.min(from.lng, to.lng), Math.min(from.lat, to.lat), Math.max(from.lng, to.lng), Math.max(from.lat, to.lat)]);
    }, { signal });
    addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); stop(null); } }, { signal, capture: true });
  });
}

export const clearRectangle = () => scratch([]);
export const boxText = (box) => (box ? said("矩形内", "in the rectangle") : "");
