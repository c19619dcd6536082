/**
 * A form of a few labelled fields that says beside each what is wrong with it.
 *
 * Knows how the server names a field in an error; nothing of what the form is for.
 */
import { el } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./strings.js";

let made = 0;

/** A labelled field, of several `lines` if wanted; a password can be shown. `more` are attributes of the input. */
export function field(name, { label, type = "text", value = "", hint = null, lines = 1, ...more }) {
  const id = `field-${name}-${(made += 1)}`;
  const note = el("p", { class: "field-note", id: `${id}-note` }, hint);
  const kind = lines > 1 ? { rows: lines } : { type };
  const input = el(lines > 1 ? "textarea" : "input", { id, name, ...kind, required: true, "aria-describedby": note.id, ...more });
  input.value = value;
  const row = el("div", { class: "field-input" }, input, type === "password" ? eye(input) : null);
  const say = (text) => {
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    note.classList.toggle("bad", Boolean(text));
    note.textContent = text || (hint ?? "");
  };
  input.addEventListener("input", () => say(null));
  return { name, input, say, node: el("div", { class: "field" }, el("label", { for: id }, label), row, note) };
}

/** A labelled choice of one; `choices` are [value, label]. */
export function choice(name, { label, choices, value }) {
  const id = `field-${name}-${(made += 1)}`;
  const options = choices.map(([key, text]) => el("option", { value: key, selected: key === value }, text));
  const input = el("select", { id, name }, options);
  return { name, input, say: () => {}, node: el("div", { class: "field" }, el("label", { for: id }, label), el("div", { class: "field-input" }, input)) };
}

/** A labelled choice of several; `choices` are [value, label], `chosen` values. */
export function boxes(name, { label, choices, chosen = [], hint = null }) {
  const inputs = choices.map(([value]) => el("input", { type: "checkbox", name, value, checked: chosen.includes(value) }));
  const note = el("p", { class: "field-note" }, hint);
  const say = (text) => {
    note.classList.toggle("bad", Boolean(text));
    note.textContent = text || (hint ?? "");
  };
  const labels = choices.map(([, text], index) => el("label", {}, inputs[index], text));
  const node = el("div", { class: "field" }, el("fieldset", {}, el("legend", {}, label), ...labels), note);
  node.addEventListener("change", () => say(null));
  const input = {
    get value() {
      return inputs.filter((one) => one.checked).map((one) => one.value);
    },
    focus: () => inputs[0]?.focus(),
  };
  return { name, input, say, node };
}

/**
 * The form of `fields`; `send` gets the values by name, `done` what it returned. What the server
 * says of a field stands beside it, what it says of the whole above the button.
 */
export function formOf({ fields, action, send, done, danger = false }) {
  const alert = el("p", { class: "field-alert", role: "alert" });
  const button = el("button", { type: "submit", class: danger ? "field-go danger" : "field-go" }, action);
  const form = el("form", { class: "field-form", novalidate: true }, ...fields.map(({ node }) => node), alert, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    alert.textContent = "";
    const missing = fields.find(({ input }) => input.required && !input.value);
    if (missing) {
      missing.say(t("field.missing"));
      missing.input.focus();
      return;
    }
    button.disabled = true;
    try {
      done(await send(Object.fromEntries(fields.map(({ name, input }) => [name, input.value]))));
    } catch (error) {
      const words = [error.message, error.hint].filter(Boolean).join(". ");
      const wrong = fields.find(({ name }) => name === error.field);
      if (wrong) wrong.say(words);
      else alert.textContent = words;
      (wrong ?? fields.at(-1)).input.focus();
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

function eye(input) {
  const button = el("button", { type: "button", class: "field-eye", "aria-pressed": "false", "aria-label": t("field.show_password") }, icon("eye"));
  button.addEventListener("click", () => {
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
    input.focus();
  });
  return button;
}
