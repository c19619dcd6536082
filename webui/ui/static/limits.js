/**
 * Limits of one person, of a group and of everybody, as administrators set them; asked for when opened.
 *
 * An empty field leaves a limit as it is for others; what it then is stands in it, pale.
 */
import { api } from "./api.js";
import { el } from "./dom.js";
import { field, formOf } from "./field.js";
import { integer } from "./format.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

export const NAMES = ["tokens_per_day", "messages_per_minute", "requests_at_once", "context_tokens", "storage_bytes"];
const PREFIX = "limits."; // as the server names the fields in an error

/** A button that opens the limits of `user`. */
export const limitsOf = (user) => fold(t("limits.open"), personLimits(user));

/** What `drawLimits` needs for the limits of one person; `done` gets what was saved. */
export function personLimits(user, done = () => {}) {
  return {
    load: () => api.limitsOf(user.id),
    save: (limits) => api.setLimitsOf(user.id, limits).then(done),
    hint: t("limits.hint"),
    saved: t("limits.saved", { name: user.name }),
  };
}

/** A button that opens the limits of a group; `group` returns it as it is now. */
export function limitsOfGroup(group, save) {
  return fold(t("limits.open"), {
    load: async () => ({ limits: group().limits }),
    save,
    unset: t("limits.unset"),
    hint: t("limits.hint_of_group"),
    saved: t("limits.saved", { name: group().name }),
  });
}

/** A button that opens the limits of all who have no others; `done` is called when they are saved. */
export function limitsOfAll(done = () => {}) {
  return fold(t("limits.of_all"), {
    load: api.limits,
    save: (limits) => api.setLimits(limits).then(done),
    hint: t("limits.hint_of_all"),
    saved: t("limits.saved_of_all"),
  });
}

/** A plain button and what it opens; no `details`, which would stand in another one. */
function fold(title, what) {
  const place = el("div", { hidden: true });
  const button = el("button", { type: "button", class: "plain", "aria-expanded": "false" }, title);
  button.addEventListener("click", () => {
    place.hidden = !place.hidden;
    button.setAttribute("aria-expanded", String(!place.hidden));
    if (!place.hidden) drawLimits(place, what).catch(toastError);
  });
  return el("div", { class: "limits" }, button, place);
}

/** Draw the form of limits. `what`: load, save, the hint, what is said when saved, and for unset ones. */
export async function drawLimits(place, what) {
  const { limits, inherited } = await what.load();
  const pale = (name) => (inherited ? t("limits.as_others", { limit: spoken(inherited[name]) }) : (what.unset ?? t("limits.none")));
  const fields = NAMES.map((name) =>
    field(PREFIX + name, { label: t(PREFIX + name), value: written(limits[name]), placeholder: pale(name), autocomplete: "off", required: false }),
  );
  const send = async (values) => {
    const given = NAMES.map((name) => [name, values[PREFIX + name].trim()]).filter(([, text]) => text);
    try {
      await what.save(Object.fromEntries(given.map(([name, text]) => [name, read(text)])));
    } catch (error) {
      for (const name of NAMES) error.message = error.message.replace(PREFIX + name, t(PREFIX + name));
      throw error;
    }
  };
  const done = () => toast(what.saved); // the fields hold what was saved, and perhaps more already
  place.replaceChildren(el("p", {}, what.hint), formOf({ fields, action: t("limits.save"), send, done }));
}

const written = (limit) => (limit === undefined ? "" : limit === null ? t("limits.none") : String(limit));
const spoken = (limit) => (limit === null ? t("limits.none") : integer(limit));

/** What was written as the server takes it; what is no number is for the server to refuse. */
function read(text) {
  if (text.toLowerCase() === t("limits.none")) return null;
  const digits = text.replaceAll(/\s/g, "");
  const isNumber = /^\d{1,15}$/.test(digits) || /^\d{1,3}(,\d{3}){1,4}$/.test(digits);
  return isNumber ? Number(digits.replaceAll(",", "")) : text;
}
