/**
 * What a drawn block of Markdown gets on top: code cards with colours, formulas, scrolling tables.
 *
 * The highlighter and KaTeX are large: each is fetched when the first block needs it.
 */
import { copyText, el } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./strings.js";

const LONGEST_COLOURED = 60_000; // characters
const COLOUR_EVERY_MS = 300; // of code that still grows

let highlighter = null;
let katex = null;
const here = (path) => new URL(path, import.meta.url).href;

async function loadHighlighter() {
  const { hljs } = await import("./vendor/highlight.bundle.js");
  return (highlighter = hljs);
}

async function loadKatex() {
  const style = el("link", { rel: "stylesheet", href: here("vendor/katex.css") });
  document.head.append(style);
  const { render } = await import("./vendor/katex.bundle.js");
  return (katex = render);
}

const once = (load) => {
  let promise = null;
  return () => (promise ??= load().catch(() => (promise = null)));
};
const needHighlighter = once(loadHighlighter);
const needKatex = once(loadKatex);

/** Finish a freshly drawn block. `isOpen`: it is the last one and still grows. */
export function decorate(block, isOpen) {
  for (const code of block.querySelectorAll("pre > code")) makeCard(code, isOpen);
  for (const node of block.querySelectorAll("[data-tex]")) drawFormula(node);
  for (const table of block.querySelectorAll("table")) scrollable(table);
  for (const node of block.querySelectorAll("[data-image]")) labelImage(node);
  for (const box of block.querySelectorAll("input")) box.setAttribute("aria-label", box.checked ? t("chat.task_done") : t("chat.task_open"));
}

function makeCard(code, isOpen) {
  const language = code.dataset.lang || "";
  const copy = el("button", { type: "button", class: "code-copy" }, icon("copy"), el("span", {}, t("chat.copy_code")));
  copy.addEventListener("click", async () => {
    await copyText(code.textContent);
    copy.replaceChildren(icon("check"), el("span", {}, t("chat.copied")));
    setTimeout(() => copy.replaceChildren(icon("copy"), el("span", {}, t("chat.copy_code"))), 1_500);
  });
  const pre = code.parentNode;
  const head = el("div", { class: "code-head" }, el("span", {}, language || t("chat.plain_text")), copy);
  const card = el("div", { class: "code-card" }, head);
  pre.replaceWith(card);
  pre.tabIndex = 0; // so that the keyboard can scroll it
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", t("chat.code", { language: language || t("chat.plain_text") }));
  card.append(pre);
  colour(code, isOpen);
}

/** Give colours now when the highlighter is there and it is time, else later. */
function colour(code, isOpen) {
  const language = code.dataset.lang;
  if (!language || code.textContent.length > LONGEST_COLOURED) return;
  if (!highlighter) {
    needHighlighter().then(() => highlighter && code.isConnected && colour(code, false));
    return;
  }
  if (!highlighter.getLanguage(language)) return;
  const now = performance.now();
  if (isOpen && now < Number(code.dataset.due ?? 0)) return;
  const { value } = highlighter.highlight(code.textContent, { language, ignoreIllegals: true });
  code.innerHTML = value; // the highlighter escapes the text and adds spans only
  const cost = performance.now() - now;
  code.dataset.due = String(now + Math.max(COLOUR_EVERY_MS, 15 * cost));
}

/**
 * Add to a code card that has grown, without drawing it anew; returns whether that was possible.
 */
export function growCode(block, token, isOpen) {
  const code = block.querySelector(":scope > .code-card code");
  if (!code || code.dataset.lang !== (token.lang ?? "").trim().split(/\s+/)[0]) return false;
  const shown = code.textContent;
  if (!token.text.startsWith(shown)) return false;
  if (token.text.length > shown.length) code.append(token.text.slice(shown.length));
  colour(code, isOpen);
  return true;
}

function drawFormula(node) {
  const source = node.dataset.tex;
  const display = node.dataset.display === "1";
  if (!katex) {
    node.textContent = source;
    node.classList.add("tex-source");
    needKatex().then(() => katex && node.isConnected && drawFormula(node));
    return;
  }
  node.classList.remove("tex-source");
  const options = { displayMode: display, throwOnError: false, trust: false, strict: "ignore", maxSize: 20, maxExpand: 500 };
  try {
    katex(source, node, options);
  } catch {
    node.textContent = source; // beyond the limits above
  }
  if (display) node.classList.add("formula");
}

function scrollable(table) {
  const box = el("div", { class: "table-box", tabindex: "0", role: "region", "aria-label": t("chat.table") });
  table.replaceWith(box);
  box.append(table);
}

/** An image is a link that says where it leads: fetching it would tell that host of the reader. */
function labelImage(node) {
  node.classList.add("image-link");
  node.prepend(icon("picture"));
  if (node.tagName === "A") node.append(el("span", { class: "image-host" }, hostOf(node.href)));
}

function hostOf(address) {
  try {
    return new URL(address).host;
  } catch {
    return address; // a model wrote it: it need not be one
  }
}
