/**
 * The limits of one person, as an administrator sets them; drawn and asked for when it is opened.
 *
 * An empty field leaves a limit as it is for others; what it then is stands in it, pale.
 */
import { api } from "./api.js";
import { el } from "./dom.js";
import { field, formOf } from "./field.js";
import { integer } from "./format.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const NAMES = ["tokens_per_day", "messages_per_minute", "requests_at_once", "context_tokens", "storage_bytes"];
const PREFIX = "limits."; // as the server names the fields in an error

/** A line that opens to the limits of `user`. */
export function limitsOf(user) {
  const place = el("div", {});
  const fold = el("details", { class: "limits" }, el("summary", {}, t("limits.open")), place);
  fold.addEventListener("toggle", () => fold.open && draw(user, place).catch(toastError));
  return fold;
}

async function draw(user, place) {
  const { limits, effective } = await api.limitsOf(user.id);
  const fields = NAMES.map((name) =>
    field(PREFIX + name, { label: t(PREFIX + name), value: written(limits[name]), placeholder: t("limits.as_others", { limit: spoken(effective[name]) }), inputmode: "text", autocomplete: "off", required: false }),
  );
  const save = (values) => api.setLimitsOf(user.id, Object.fromEntries(NAMES.filter((name) => values[PREFIX + name].trim()).map((name) => [name, read(values[PREFIX + name].trim())])));
  const send = (values) =>
    save(values).catch((error) => {
      for (const name of NAMES) error.message = error.message.replace(PREFIX + name, t(PREFIX + name));
      throw error;
    });
  const done = () => {
    toast(t("limits.saved", { name: user.name }));
    draw(user, place).catch(toastError);
  };
  place.replaceChildren(el("p", {}, t("limits.hint")), formOf({ fields, action: t("limits.save"), send, done }));
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
