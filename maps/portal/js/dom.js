// Elements and the two languages. Text from data is only ever set as text.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export function both(zh, en) {
  const made = document.createDocumentFragment();
  made.append(el("span", { lang: "zh" }, zh), el("span", { lang: "en" }, en));
  return made;
}

export const byId = (id) => document.getElementById(id);
export const lang = () => (document.body.classList.contains("show-en") ? "en" : "zh");
export const said = (zh, en) => (lang() === "zh" ? zh : en);

export function setLanguage(wanted, root = document) {
  document.documentElement.lang = wanted === "zh" ? "zh-CN" : "en";
  document.body.classList.toggle("show-zh", wanted === "zh");
  document.body.classList.toggle("show-en", wanted !== "zh");
  labelled(root);
  document.dispatchEvent(new CustomEvent("baige:language"));
}

// Attributes in the shown language: data-label-zh/-en → aria-label and title, data-hint-… → placeholder.
export function labelled(root = document) {
  for (const node of root.querySelectorAll("[data-label-zh]")) {
    const text = said(node.dataset.labelZh, node.dataset.labelEn);
    node.setAttribute("aria-label", text);
    if (node.tagName === "BUTTON") node.title = text;
  }
  for (const node of root.querySelectorAll("[data-hint-zh]")) node.placeholder = said(node.dataset.hintZh, node.dataset.hintEn);
  for (const node of root.querySelectorAll("optgroup[data-label-zh]")) node.label = said(node.dataset.labelZh, node.dataset.labelEn);
  for (const node of root.querySelectorAll("option[data-zh]")) node.textContent = said(node.dataset.zh, node.dataset.en);
}

export function option(value, zh, en, selected = false) {
  return el("option", { value, "data-zh": zh, "data-en": en, selected }, said(zh, en));
}

let timer = 0;
export function tell(zh, en, { bad = false, stay = false } = {}) {
  const box = byId("said");
  box.replaceChildren(zh ? both(zh, en) : "");
  box.classList.toggle("bad", bad);
  clearTimeout(timer);
  if (!stay) timer = setTimeout(() => box.replaceChildren(), 6000);
}

// Legends come from our own server, already escaped; nothing else is ever set as markup.
export function legendOf(markup) {
  const list = el("ul", { class: "legend" });
  list.innerHTML = markup;
  return list;
}

export function download(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
