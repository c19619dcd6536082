/** Keys that work anywhere on the page, and the sheet that lists them. */
import { el } from "./dom.js";
import { makeSheet } from "./sheet.js";
import { t } from "./strings.js";

const SHEET = [
  ["Ctrl+Shift+O", "app.key_new"],
  ["Ctrl+K", "app.key_filter"],
  ["Ctrl+B", "app.key_sidebar"],
  ["F2", "app.key_rename"],
  ["Ctrl+Shift+Backspace", "app.key_delete"],
  ["Ctrl+Shift+↑ / ↓", "app.key_neighbour"],
  ["Enter", "app.key_send"],
  ["Shift+Enter", "app.key_newline"],
  ["Esc", "app.key_stop"],
  ["↑", "app.key_edit"],
  ["Ctrl+Shift+R", "app.key_retry"],
  ["Alt+← / →", "app.key_version"],
  ["Ctrl+Shift+C", "app.key_copy"],
  ["Ctrl+Shift+;", "app.key_copy_code"],
  ["Ctrl+Shift+M", "app.key_model"],
  ["Shift+Esc", "app.key_focus"],
  ["Ctrl+/", "app.key_help"],
];

/** A name for what was pressed: "Ctrl+Shift+O". On a Mac ⌘ counts as Ctrl. */
function chord(event) {
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const parts = [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt", event.shiftKey && "Shift", key];
  return parts.filter(Boolean).join("+").replace("Shift+:", "Shift+;");
}

/** `actions`: chord → function; a function that returns false leaves the key to the page. */
export function startShortcuts(actions) {
  window.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const action = actions[chord(event)];
    if (action && action(event) !== false) event.preventDefault();
  });
}

/** Whether the focus is where letters and arrows belong to a text. */
export function isWriting() {
  const active = document.activeElement;
  return Boolean(active?.matches?.("input, textarea, select, [contenteditable]"));
}

let sheet = null;

export function showShortcuts() {
  sheet ??= makeSheet(t("app.shortcuts"), el("dl", {}, SHEET.map(makeRow)));
  if (!sheet.open) sheet.showModal();
}

function makeRow([keys, key]) {
  return el("div", {}, el("dt", {}, t(key)), el("dd", {}, keys.split("+").map((name) => el("kbd", {}, name))));
}
