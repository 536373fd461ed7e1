// A map that stays fluid without a graphics card, where to draw it takes a tenth of a second and more: on a machine found slow the last drawing
// moves along with the hand, and the map is drawn anew (at half the resolution) only now and then; when it stands it is drawn whole.
const SLOW_MS = 50, FRAMES = 4; // slow: the mean of so many frames in motion is longer than this
const STILL_MS = 180; // it stands: has not moved for so long
const REST = 4, LEAST_MS = 150, MOST_MS = 700, LATER_MS = 60; // pause after a drawing in motion: so many times what it took, within these limits
const UNCOVERED = 0.35, LARGER = 1.6, SMALLER = 0.75; // drawn at once: so much of the view is bare, or so much larger or smaller

export const machine = { slow: false };
const finishers = new WeakMap();
// Draws a map whole at once, for a picture of it.
export const drawWhole = (map) => finishers.get(map)?.();

export function keepFluid(map) {
  const full = map.getPixelRatio(), canvas = map.getCanvas(), frame = map.getContainer(), gl = canvas.getContext("webgl2");
  canvas.style.transformOrigin = "0 0";
  map.drawings = 0; // for the benchmark: frames that were drawn, not only moved
  let still = true, coarse = false, resizing = false, drawn = null, later = null;

  // The last drawing as it lies in the view of the moment; "" if it shows too little of it.
  const moved = () => {
    const { width, height, corner, zoom } = drawn, at = map.project(corner), scale = 2 ** (map.getZoom() - zoom);
    const across = Math.min(width, at.x + scale * width) - Math.max(0, at.x), down = Math.min(height, at.y + scale * height) - Math.max(0, at.y);
    const shown = frame.clientWidth === width && frame.clientHeight === height && across > 0 && down > 0 && across * down > (1 - UNCOVERED) * width * height;
    return shown && scale < LARGER && scale > SMALLER ? `translate(${at.x}px, ${at.y}px) scale(${scale})` : "";
  };
  // Whether the graphics have drawn it and rested: what they are asked for meanwhile would have to wait, the moved picture, too.
  const rested = (now, least) => {
    if (drawn.cost === null && gl.getSyncParameter(drawn.fence, gl.SYNC_STATUS) === gl.SIGNALED) drawn.cost = now - drawn.at;
    return drawn.cost !== null && now > drawn.at + drawn.cost + Math.min(Math.max(REST * drawn.cost, least), MOST_MS);
  };
  const sharpness = (ratio) => { coarse = ratio < full; resizing = true; map.setPixelRatio(ratio); resizing = false; }; // tells of a move of its own
  const hook = () => {
    const painter = map.painter, render = painter?.render;
    if (!gl || typeof render !== "function") return; // another version of the library: every frame is drawn
    drawn = null;
    painter.render = function (...given) {
      const now = performance.now(), moving = machine.slow && !still;
      const place = moving && drawn && !rested(now, LEAST_MS) ? moved() : "";
      canvas.style.transform = place;
      if (place) return;
      // Tiles that arrive one by one are not worth a drawing each.
      if (still && drawn && !map.areTilesLoaded() && !rested(now, drawn.cost > SLOW_MS ? MOST_MS : 0)) { later ??= setTimeout(() => { later = null; map.triggerRepaint(); }, LATER_MS); return; }
      if (moving && !coarse) sharpness(full / 2);
      render.apply(painter, given);
      map.drawings += 1;
      if (drawn) gl.deleteSync(drawn.fence);
      drawn = { at: performance.now(), cost: null, fence: gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0), corner: map.unproject([0, 0]), zoom: map.getZoom(), width: frame.clientWidth, height: frame.clientHeight };
    };
  };
  hook();
  map.on("webglcontextrestored", hook);

  let last = 0, frames = 0, mean = 0, timer = 0;
  map.on("render", () => {
    const now = performance.now(), moving = map.isMoving();
    if (last && !machine.slow) {
      frames += 1;
      mean += (now - last - mean) / Math.min(frames, FRAMES);
      machine.slow = frames >= FRAMES && mean > SLOW_MS;
    }
    last = moving ? now : 0;
  });
  const finish = () => {
    clearTimeout(timer);
    still = true;
    if (coarse) sharpness(full);
    if (machine.slow) map.redraw();
  };
  finishers.set(map, finish);
  map.on("movestart", () => { if (!resizing) { clearTimeout(timer); still = false; } });
  map.on("moveend", () => { if (!resizing) { clearTimeout(timer); timer = setTimeout(finish, STILL_MS); } });
  map.on("remove", () => { clearTimeout(timer); clearTimeout(later); });
}
