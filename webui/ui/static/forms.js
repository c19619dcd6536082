/**
 * What Gradio's controls lack, for all forms of the page (Gradio 6.31).
 *
 * - A number typed beyond the end of a slider stays; Gradio would cut it off at blur without
 *   telling the server, which says what is too much.
 * - ↺ goes back to the default; Gradio's goes back to what the page opened with.
 * - A text box tells of every edit; Gradio's tells of key presses only, not of what is pasted,
 *   cut, deleted or undone.
 * - A field whose value was refused stays marked until it is right.
 * - A form whose saved values are on their way takes no edit, which they would overwrite.
 */
import { toast } from "./toast.js";

const resets = new Map();
const left = new WeakMap(); // where the focus was when a form was closed

/** Serve the line of a form: it says what `props.value` says; `reset` asks the server to reset a field. */
export function adopt(element, props, watch, reset) {
  const form = element.closest(".form-page");
  const show = () => mark(props.form, props.value, form);
  element.setAttribute("role", "status");
  resets.set(props.form, reset);
  watch("value", show);
  show();
}

/** Show a form's state: mark the field it speaks of while it is bad; a state of no field clears all. */
function mark(name, { field, tone, message, alert }, form) {
  if (alert) toast(alert, { kind: "error" }); // the line may be out of sight
  hold(form, tone === "wait");
  const fields = field ? [document.getElementById(`${name}-${field}`)] : document.querySelectorAll(`[id^="${name}-"].bad`);
  for (const node of fields) {
    const isBad = Boolean(field) && tone === "bad";
    node?.classList.toggle("bad", isBad);
    if (node) node.dataset.error = isBad ? message : "";
    for (const input of node?.querySelectorAll("input, textarea") ?? []) input.setAttribute("aria-invalid", String(isBad));
  }
  say(form, message, tone);
}

/** Set the line of a form, as text; while another field is wrong, that one's message goes before "Saved". */
function say(form, message, tone) {
  const line = form.querySelector(".form-state");
  const error = tone === "ok" ? form.querySelector(".form-field.bad")?.dataset.error : "";
  line.textContent = error || message;
  line.className = `form-state ${error ? "bad" : tone}`.trim();
}

function hold(form, isWaiting) {
  if (form.inert === isWaiting) return;
  if (isWaiting && form.contains(document.activeElement)) left.set(form, document.activeElement);
  form.inert = isWaiting;
  if (!isWaiting && document.activeElement === document.body) left.get(form)?.focus();
  if (!isWaiting) left.delete(form);
}

function closest(event, selector) {
  return event.target instanceof Element ? event.target.closest(selector) : null;
}

function keepTyped(event) {
  if (closest(event, ".form-field.form-slider")) event.stopImmediatePropagation();
}

function askReset(event) {
  const field = closest(event, ".form-field :is(.reset-button, .custom-button)")?.closest(".form-field");
  if (!field) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  const split = field.id.indexOf("-");
  resets.get(field.id.slice(0, split))?.(field.id.slice(split + 1));
}

function dropKey(event) {
  if (event.isTrusted && closest(event, ".form-field textarea")) event.stopImmediatePropagation();
}

function tellEdit(event) {
  if (closest(event, ".form-field textarea")) event.target.dispatchEvent(new KeyboardEvent("keypress"));
}

document.addEventListener("blur", keepTyped, true);
document.addEventListener("click", askReset, true);
document.addEventListener("keypress", dropKey, true);
document.addEventListener("input", tellEdit);
