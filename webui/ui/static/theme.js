/**
 * Light, dark or as the system says.
 *
 * The choice lives in localStorage; a script in the head of the page applies it before the first
 * paint, this module afterwards. Gradio reads `body.dark` and sets it by itself when it starts:
 * an observer puts back what the reader chose.
 */
import { Emitter } from "./emitter.js";

const KEY = "theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

export const themeEvents = new Emitter();

/** "light", "dark" or "system". */
export function theme() {
  const stored = localStorage.getItem(KEY);
  return stored === "light" || stored === "dark" ? stored : "system";
}

function isDark() {
  return theme() === "dark" || (theme() === "system" && system.matches);
}

function apply() {
  const dark = isDark();
  for (const node of [document.documentElement, document.body]) {
    if (node.classList.contains("dark") !== dark) node.classList.toggle("dark", dark);
  }
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}

export function setTheme(name) {
  localStorage.setItem(KEY, name);
  apply();
  themeEvents.emit("change", name);
}

export function startTheme() {
  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", (event) => event.key === KEY && apply());
  new MutationObserver(apply).observe(document.body, { attributeFilter: ["class"] });
}
