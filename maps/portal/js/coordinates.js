// Reading coordinates as people paste them, and the shift of GCJ-02 (what phones' map apps in China show).
const A = 6378245, EE = 0.00669342162296594323;

function shift(lon, lat) {
  const x = lon - 105, y = lat - 35, r = Math.sqrt(Math.abs(x)), s = (v) => Math.sin(v * Math.PI);
  const wave = (20 * s(6 * x) + 20 * s(2 * x)) * 2 / 3;
  const dLat = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * r + wave + (20 * s(y) + 40 * s(y / 3)) * 2 / 3 + (160 * s(y / 12) + 320 * s(y / 30)) * 2 / 3;
  const dLon = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * r + wave + (20 * s(x) + 40 * s(x / 3)) * 2 / 3 + (150 * s(x / 12) + 300 * s(x / 30)) * 2 / 3;
  const phi = lat * Math.PI / 180, magic = 1 - EE * Math.sin(phi) ** 2, root = Math.sqrt(magic);
  return [dLon * 180 / (A / root * Math.cos(phi) * Math.PI), dLat * 180 / (A * (1 - EE) / (magic * root) * Math.PI)];
}

// Inverted step by step: after four steps the error is below a micrometre.
export function fromGcj(lon, lat) {
  let [x, y] = [lon, lat];
  for (let n = 0; n < 5; n += 1) {
    const [dx, dy] = shift(x, y);
    [x, y] = [lon - dx, lat - dy];
  }
  return [x, y];
}

const NUMBER = /^([+-]?\d{1,3}(?:\.\d+)?)$/, DMS = /^(\d{1,3})[°度]\s*(\d{1,2}(?:\.\d+)?)?[′'分]?\s*(\d{1,2}(?:\.\d+)?)?[″"秒]?$/;

function degrees(text) {
  const letter = /[NSEW北南东西]/i.exec(text)?.[0]?.toUpperCase() ?? "";
  const bare = text.replace(/[NSEW北南东西纬经]/gi, "").replace(/°$/, "").trim();
  const plain = NUMBER.exec(bare), parts = DMS.exec(bare);
  if (!plain && !parts) return null;
  const value = plain ? Number(plain[1]) : Number(parts[1]) + Number(parts[2] || 0) / 60 + Number(parts[3] || 0) / 3600;
  return { value: "SW南西".includes(letter) && letter ? -value : value, axis: letter && "NS北南".includes(letter) ? "lat" : letter ? "lon" : "" };
}

// "111.29, 30.70", "30.70 111.29", "N30°41'31\" E111°17'10\"", "北纬30.7，东经111.3" → { lon, lat }, or null.
// inside(lon, lat) tells which order is meant where both would do.
export function readCoordinates(text, inside) {
  const halves = text.trim().replace(/^[([（]|[)\]）]$/g, "").split(/\s*[,，;；\t]\s*/).filter(Boolean);
  let parts = halves.length === 2 ? halves : null;
  if (!parts) {
    // Without a comma: one blank between the two, wherever it makes two readable numbers.
    const words = text.trim().split(/\s+/);
    for (let n = 1; n < words.length && !parts; n += 1) {
      const two = [words.slice(0, n).join(""), words.slice(n).join("")];
      if (two.every(degrees)) parts = two;
    }
  }
  const found = parts?.map(degrees);
  if (!found || found.some((part) => part === null)) return null;
  let [lon, lat] = found.map((part) => part.value);
  if (found[0].axis === "lat" || found[1].axis === "lon") [lon, lat] = [lat, lon];
  else if (!found[0].axis && !found[1].axis) {
    if (Math.abs(lat) > 90 && Math.abs(lon) <= 90) [lon, lat] = [lat, lon];
    if (!inside(lon, lat) && inside(lat, lon)) [lon, lat] = [lat, lon];
  }
  return Math.abs(lon) <= 180 && Math.abs(lat) <= 90 ? { lon, lat } : null;
}
