// Recording an inspection: the form, its draft, and the list of what waits to be sent.
import { both, byId, el, labelled, option, said, tell } from "./dom.js";
import { catalogue, nameOf } from "./catalogue.js";
import { again, discard, forget, keep, kept, newId, put, records, sendAll } from "./queue.js";
import { STATES, stateIcon } from "./states.js";
import { distance } from "./tools.js";

const SIDE = 2048, COLOURS = [["无色", "colourless"], ["微黄", "yellowish"], ["灰", "grey"], ["黑", "black"], ["红", "red"], ["绿", "green"], ["白浊", "milky"]], MAX_PHOTOS = 12;
export const mayRecord = () => ["officer", "planner", "admin"].includes(catalogue.role);

const localTime = (date) => new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);

// Made smaller on the device: less to send, and what the camera wrote into the file stays behind.
async function shrunk(file) {
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" }), scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
  const canvas = el("canvas", { width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale)) }), pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
}

function photosField(photos, changed) {
  const shown = el("p", { class: "photos" }), input = el("input", { type: "file", id: "i-photos", accept: "image/jpeg,image/png,image/webp", multiple: true });
  const draw = () => shown.replaceChildren(...photos.map((p, n) => el("span", { class: "photo" }, el("img", { src: URL.createObjectURL(p.blob), alt: said(`照片 ${n + 1}`, `Photo ${n + 1}`) }),
    el("button", { type: "button", "aria-label": said(`删去照片 ${n + 1}`, `Remove photo ${n + 1}`), onclick: () => { photos.splice(n, 1); draw(); changed(); } }, "×"))));
  const bad = el("p", { class: "bad", role: "alert", hidden: true });
  input.addEventListener("change", async () => {
    bad.hidden = true;
    for (const file of input.files) {
      if (photos.length >= MAX_PHOTOS) { bad.replaceChildren(both(`最多 ${MAX_PHOTOS} 张照片。`, `${MAX_PHOTOS} photos at most.`)); bad.hidden = false; break; }
      try { photos.push({ id: newId(), blob: await shrunk(file), stored: false }); } catch { bad.replaceChildren(both(`${file.name} 不是可读取的照片。`, `${file.name} is not a photo that can be read.`)); bad.hidden = false; }
    }
    input.value = "";
    draw();
    changed();
  });
  draw();
  return el("div", { class: "field" }, el("label", { for: "i-photos" }, both("照片", "Photos")), input,
    el("p", { class: "note" }, both("只拍排口、水面和设施，不要拍到人、人脸或车牌。", "Outfall, water and structures only: no persons, faces or number plates.")), bad, shown);
}

function positionField(outfall, values, changed) {
  const line = el("span", { id: "i-position" }), button = el("button", { type: "button", id: "i-locate" }, both("取当前位置", "Take my position"));
  const draw = () => {
    if (values.lon === undefined) { line.replaceChildren(both("未记录", "not recorded")); return; }
    const away = outfall.lon === undefined ? null : Math.round(distance([values.lon, values.lat], [outfall.lon, outfall.lat]));
    line.replaceChildren(`${values.lon.toFixed(6)}, ${values.lat.toFixed(6)} ± ${Math.round(values.position_error_m)} m`, away === null ? "" : both(`；距排口 ${away} m`, `; ${away} m from the outfall`));
  };
  button.addEventListener("click", () => {
    if (!navigator.geolocation || !isSecureContext) { line.replaceChildren(both("浏览器只在 https 下提供位置，可不填。", "The browser gives a position over https only; it may be left out.")); return; }
    line.replaceChildren(both("正在定位……", "locating…"));
    navigator.geolocation.getCurrentPosition(({ coords }) => {
      Object.assign(values, { lon: Number(coords.longitude.toFixed(7)), lat: Number(coords.latitude.toFixed(7)), position_error_m: Math.round(coords.accuracy) });
      draw();
      changed();
    }, () => line.replaceChildren(both("无法取得位置，可不填。", "No position to be had; it may be left out.")), { enableHighAccuracy: true, timeout: 15000, maximumAge: 30000 });
  });
  draw();
  return el("div", { class: "field" }, el("span", {}, both("位置", "Position")), el("span", { class: "row" }, button, line));
}

export async function openForm(outfall) {
  const layer = catalogue.layers.get("outfall_inspection"), draftKey = `draft:${outfall.id}`, dialog = byId("ask");
  const name = nameOf(catalogue.layers.get("outfall"), outfall, outfall.id);
  const draft = (await kept(draftKey).catch(() => null)) || {}, values = draft.values || {}, photos = draft.photos || [];
  const saved = el("span", { class: "note" });
  const changed = () => keep(draftKey, { values, photos }).then(() => saved.replaceChildren(both("草稿已存在本机", "draft kept on this device"))).catch(() => saved.replaceChildren(both("本机存储已满或被禁用，草稿未保存！", "The device's storage is full or closed: the draft is not kept!")));
  const set = (field) => (event) => { values[field] = event.target.value; changed(); };
  const select = (field) => {
    const f = layer.field.get(field), made = el("select", { id: `i-${field}`, onchange: set(field) }, option("", "未填", "Not filled in"), ...Object.entries(f.terms).map(([value, [zh, en]]) => option(value, zh, en, values[field] === value)));
    return el("div", { class: "field" }, el("label", { for: made.id }, both(f.zh, f.en)), made);
  };
  const when = el("input", { type: "datetime-local", id: "i-when", required: true, max: localTime(new Date(Date.now() + 600000)), value: values.when || localTime(new Date()), onchange: set("when") });
  const note = el("textarea", { id: "i-note", rows: 3, maxlength: 2000, oninput: set("note") }, values.note || "");
  const colour = el("input", { id: "i-colour", list: "i-colours", maxlength: 40, value: values.colour || "", oninput: set("colour") });
  const choices = STATES.map((look) => {
    const box = el("input", { type: "radio", name: "discharging", value: look.value, required: true, onchange: set("discharging") });
    box.checked = String(values.discharging) === String(look.value);
    return el("label", { class: "choice" }, box, stateIcon(look.value), both(look.zh, look.en));
  });
  const form = el("form", { id: "inspection", onsubmit: async (event) => {
    event.preventDefault();
    const body = { outfall_id: outfall.id, inspected_at: new Date(when.value).toISOString(), discharging: Number(values.discharging) };
    for (const field of ["colour", "turbidity", "odour", "note", "lon", "lat", "position_error_m"]) if (values[field] !== undefined && values[field] !== "") body[field] = values[field];
    try {
      await put({ id: newId(), name, body, photos });
    } catch {
      saved.replaceChildren(both("本机存储已满或被禁用，记录未保存！请勿关闭。", "The device's storage is full or closed: the record is not kept! Do not close."));
      return;
    }
    await forget(draftKey);
    dialog.close();
    tell("已存在本机，正在发送……", "Kept on this device; sending…");
    await sendAll();
    const left = await records();
    if (!left.length) tell("巡查已送达。", "The inspection has arrived.");
    else tell(`已存在本机，${left.length} 条待发送；有网络时自动发送。`, `Kept on this device; ${left.length} to send as soon as there is a network.`, { stay: false });
  } },
  el("header", { class: "row" }, el("h2", { id: "i-title" }, both("记录巡查", "Record an inspection")), el("button", { type: "button", class: "close", "aria-label": said("关闭，草稿保留", "Close; the draft is kept"), onclick: () => dialog.close() }, "×")),
  el("p", { class: "note" }, name, outfall.code ? ` · ${outfall.code}` : ""),
  el("fieldset", {}, el("legend", {}, both("是否排放", "Discharging")), el("div", { class: "row" }, choices)),
  el("div", { class: "field" }, el("label", { for: "i-when" }, both("巡查时间", "Inspected at")), when),
  el("div", { class: "field" }, el("label", { for: "i-colour" }, both("颜色", "Colour")), colour, el("datalist", { id: "i-colours" }, COLOURS.map(([zh, en]) => el("option", { value: said(zh, en) })))),
  select("turbidity"), select("odour"),
  el("div", { class: "field" }, el("label", { for: "i-note" }, both("备注", "Note")), note),
  positionField(outfall, values, changed), photosField(photos, changed),
  isSecureContext ? null : el("p", { class: "note bad" }, both("本页不是 https：断网后请勿关闭本页，否则无法重新打开。", "This page is not https: without a network do not close it, or it cannot be opened again.")),
  el("p", { class: "row" }, el("button", { type: "submit", class: "main" }, both("保存并发送", "Save and send")),
    el("button", { type: "button", onclick: async () => { await forget(draftKey); dialog.close(); } }, both("丢弃草稿", "Discard the draft")), saved));
  dialog.setAttribute("aria-labelledby", "i-title");
  dialog.replaceChildren(form);
  labelled(dialog);
  if (!dialog.open) dialog.showModal();
}

const when = (t) => new Date(t).toLocaleString(said("zh-CN", "en-GB"), { dateStyle: "short", timeStyle: "short" });

export async function openQueue() {
  const dialog = byId("ask"), waiting = await records(), sent = (await kept("sent")) || [];
  const one = (record) => el("li", { class: record.state }, el("p", {}, el("b", {}, record.name), " ", el("small", {}, when(record.made), record.photos.length ? both(` · 照片 ${record.photos.length}`, ` · ${record.photos.length} photos`) : "")),
    el("p", { class: record.state === "failed" ? "bad" : "note" }, record.state === "failed" ? both("服务器拒收：", "Refused by the server: ") : [401, 403].includes(record.status) ? both("等待登录：", "Waits for a login: ") : both("等待发送", "Waiting to be sent"), record.error && record.error !== "offline" ? ` ${record.error}` : ""),
    el("p", { class: "row" }, record.state === "failed" ? el("button", { type: "button", onclick: async () => { await again(record.id); openQueue(); } }, both("再试", "Try again")) : null,
      el("button", { type: "button", onclick: () => save(record) }, both("另存为文件", "Save as file")),
      el("button", { type: "button", onclick: async () => { if (confirm(said("删除这条未送达的记录？", "Delete this record, which has not arrived?"))) { await discard(record.id); openQueue(); } } }, both("删除", "Delete"))));
  dialog.setAttribute("aria-labelledby", "q-title");
  dialog.replaceChildren(...[el("header", { class: "row" }, el("h2", { id: "q-title" }, both("现场记录", "Field records")), el("button", { type: "button", class: "close", "aria-label": said("关闭", "Close"), onclick: () => dialog.close() }, "×")),
    waiting.length ? el("ul", { class: "queue" }, waiting.map(one)) : el("p", {}, both("没有待发送的记录。", "Nothing waits to be sent.")),
    waiting.length ? el("p", { class: "row" }, el("button", { type: "button", class: "main", id: "send-now", onclick: async () => { await sendAll(); openQueue(); } }, both("立即发送", "Send now"))) : null,
    sent.length ? el("details", {}, el("summary", {}, both(`最近送达 ${sent.length} 条`, `${sent.length} that arrived lately`)), el("ul", {}, sent.map((s) => el("li", {}, `${when(s.at)} ${s.name}`)))) : null].filter(Boolean));
  if (!dialog.open) dialog.showModal();
}

// The list follows what is sent meanwhile.
document.addEventListener("baige:queue", () => { if (byId("ask").open && byId("q-title")) openQueue(); });

function save(record) {
  const url = URL.createObjectURL(new Blob([JSON.stringify({ id: record.id, ...record.body }, null, 1)], { type: "application/json" }));
  const link = el("a", { href: url, download: `inspection-${record.id}.json` });
  link.click();
  for (const [n, photo] of record.photos.entries()) {
    const other = el("a", { href: URL.createObjectURL(photo.blob), download: `inspection-${record.id}-${n + 1}.jpg` });
    other.click();
  }
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
