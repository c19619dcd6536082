/**
 * The time before Gradio: the shell is the page, asks the server how far it is, and loads the
 * whole page once it can be had, when the reader is not in the middle of a word.
 */
import { api } from "./api.js";

const ASK_EVERY_MS = 300;
const START_WITHIN_MS = 500;
const QUIET_MS = 1_200;
const PATIENCE_MS = 20_000;
const RELOADED = "reloaded";
const AGAIN_AFTER_MS = 15_000;

let lastInput = 0;
let isComposing = false;

/** Where Gradio begins; null in a document that came without it. */
const entry = document.getElementById("gradio-entry");
export const hasGradio = entry !== null;

/** Let Gradio draw its tabs, once what people came for has been painted. */
export function startGradio() {
  const begin = () => import(entry.href);
  if ("requestIdleCallback" in window) requestIdleCallback(begin, { timeout: START_WITHIN_MS });
  else setTimeout(begin, START_WITHIN_MS / 5); // Safari
}

function isQuiet() {
  return !isComposing && performance.now() - lastInput > QUIET_MS && String(document.getSelection()) === "";
}

/** Resolve with "ready", "off" or "failed". */
async function uiSettled() {
  for (;;) {
    const health = await api.health().catch(() => null);
    if (health && health.ui !== "starting") return health.ui;
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
}

/** Wait for the whole page and load it; `leave` runs just before. Resolves only if it never comes. */
export async function awaitPage(leave) {
  for (const type of ["keydown", "pointerdown", "wheel", "touchmove"]) {
    window.addEventListener(type, () => (lastInput = performance.now()), { passive: true, capture: true });
  }
  window.addEventListener("compositionstart", () => (isComposing = true), true);
  window.addEventListener("compositionend", () => (isComposing = false), true);
  const state = await uiSettled();
  if (state !== "ready") return state;
  const last = Number(sessionStorage.getItem(RELOADED) ?? 0);
  if (Date.now() - last < AGAIN_AFTER_MS) return "failed"; // it was loaded, and still is the shell
  const since = performance.now();
  while (!isQuiet() && performance.now() - since < PATIENCE_MS) await new Promise((resolve) => setTimeout(resolve, 200));
  sessionStorage.setItem(RELOADED, String(Date.now()));
  leave();
  location.reload();
  return new Promise(() => {});
}
