/**
 * The sidebar as a drawer: on phones over the page, with scrim, focus trap and Esc; on wide
 * screens beside it, remembered. Works with the shell's own sidebar and with Gradio's.
 */
import { el, phone } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./strings.js";

const KEY = "sidebar";
const FOCUSABLE = "a[href], button:not([disabled]), input, [tabindex='0']";

class Drawer {
  #scrim = el("div", { class: "scrim", hidden: true, on: { click: () => this.set(false) } });
  #opener = null;
  #toggle = null;

  /** Take charge of the shell's sidebar. */
  start() {
    const shell = document.getElementById("shell");
    this.#toggle = el("button", {
      type: "button",
      class: "sidebar-toggle",
      "aria-label": t("app.toggle_sidebar"),
      title: t("app.toggle_sidebar"),
      on: { click: () => this.set(!this.isOpen) },
    });
    this.#toggle.append(icon("sidebar"));
    shell.append(this.#toggle);
    document.body.append(this.#scrim);
    window.addEventListener("keydown", (event) => this.#onKey(event), true);
    phone.addEventListener("change", () => this.set(this.#wanted(), { remember: false }));
    this.set(this.#wanted(), { remember: false });
  }

  /** Take charge of Gradio's sidebar, which has come in place of the shell's. */
  adopt() {
    const button = this.#gradio?.querySelector(".toggle-button");
    button?.setAttribute("aria-label", t("app.toggle_sidebar"));
    button?.setAttribute("title", t("app.toggle_sidebar"));
    button?.addEventListener("click", () => requestAnimationFrame(() => this.#reflect()));
    this.set(this.isShellOpen, { remember: false });
    this.#gradio?.classList.add("adopted");
  }

  get #gradio() {
    return document.getElementById("side");
  }

  get isShellOpen() {
    return document.body.classList.contains("sidebar-open");
  }

  get isOpen() {
    return this.#gradio ? this.#gradio.classList.contains("open") : this.isShellOpen;
  }

  /** Open or close; on wide screens the choice is remembered. */
  set(open, { remember = true } = {}) {
    if (open && phone.matches && !this.isOpen) this.#opener = document.activeElement;
    const side = this.#gradio;
    if (side && side.classList.contains("open") !== open) side.querySelector(".toggle-button")?.click();
    document.body.classList.toggle("sidebar-open", open);
    if (remember && !phone.matches) localStorage.setItem(KEY, open ? "open" : "closed");
    this.#reflect(open);
  }

  /** Close it where it lies over the page. */
  leave() {
    if (phone.matches && this.isOpen) this.set(false);
  }

  #wanted() {
    return !phone.matches && localStorage.getItem(KEY) !== "closed";
  }

  #reflect(open = this.isOpen) {
    const over = open && phone.matches;
    document.body.classList.toggle("sidebar-open", open);
    this.#scrim.hidden = !over;
    this.#toggle.setAttribute("aria-expanded", String(open));
    this.#gradio?.querySelector(".toggle-button")?.setAttribute("aria-expanded", String(open));
    const list = document.querySelector(".side");
    list?.toggleAttribute("inert", !open);
    if (over) list?.querySelector(FOCUSABLE)?.focus({ preventScroll: true });
    else if (this.#opener) {
      this.#opener.focus?.({ preventScroll: true });
      this.#opener = null;
    }
  }

  #onKey(event) {
    if (!phone.matches || !this.isOpen || document.querySelector(".menu, dialog[open]")) return;
    const list = document.querySelector(".side");
    if (event.key === "Escape" && !list?.querySelector("input:focus")) {
      event.preventDefault();
      event.stopPropagation();
      this.set(false);
    } else if (event.key === "Tab" && list) {
      const stops = [...list.querySelectorAll(FOCUSABLE)].filter((node) => node.offsetParent !== null);
      const edge = event.shiftKey ? stops[0] : stops.at(-1);
      if (document.activeElement === edge || !list.contains(document.activeElement)) {
        event.preventDefault();
        (event.shiftKey ? stops.at(-1) : stops[0])?.focus();
      }
    }
  }
}

export const drawer = new Drawer();
