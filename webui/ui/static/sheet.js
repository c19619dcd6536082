/**
 * A sheet over the page: a title, a cross, and whatever it shows; sections and plain buttons for it.
 *
 * Esc, the cross and a press beside it close it; the focus returns by itself.
 */
import { el, phone } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";

/** Make a sheet; `showModal` opens it. */
export function makeSheet(title, ...content) {
  const close = { type: "button", class: "icon-button", "aria-label": t("app.close"), on: { click: () => dialog.close() } };
  const head = el("header", {}, el("h2", {}, title), el("button", close, icon("close")));
  const dialog = el("dialog", { class: "sheet", "aria-label": title }, head, ...content);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.classList.toggle("narrow", phone.matches);
  document.body.append(dialog);
  return dialog;
}

export const section = (title, ...content) => el("section", {}, el("h3", {}, title), ...content);

/** A plain button; what goes wrong is told. */
export function button(label, run, { danger = false } = {}) {
  const press = () => Promise.resolve(run()).catch(toastError);
  return el("button", { type: "button", class: danger ? "plain danger" : "plain", on: { click: press } }, label);
}
