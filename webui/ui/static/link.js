/**
 * The section of one's account that says how it is linked to a person at the provider.
 */
import { api } from "./api.js";
import { el } from "./dom.js";
import { field, formOf } from "./field.js";
import { moment } from "./format.js";
import { button, section } from "./sheet.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";

/** The section; empty where this server has no provider. */
export function linkSection() {
  const place = el("div", {});
  draw(place).catch(toastError);
  return place;
}

async function draw(place) {
  const { link } = await api.oidcLink();
  place.replaceChildren(link ? section(t("link.title", { name: link.name }), ...(link.linked_at ? linked(place, link) : [linking(link)])) : "");
}

function linked(place, link) {
  const unlink = button(t("link.unlink"), () => api.unlinkOidc().then(() => draw(place)));
  const words = t("link.linked", { name: link.name, when: moment(link.linked_at) });
  return [el("p", {}, words), link.has_password ? unlink : el("p", {}, t("link.only_way"))];
}

function linking(link) {
  if (!link.has_password) return el("p", {}, t("link.no_password"));
  const fields = [field("password", { label: t("account.old_password"), type: "password", autocomplete: "current-password" })];
  const form = formOf({ fields, action: t("link.link"), send: api.linkOidc, done: ({ url }) => location.assign(url) });
  const place = el("div", {}, el("p", {}, t("link.text", { name: link.name })));
  place.append(button(t("link.open"), () => (place.lastChild.replaceWith(form), fields[0].input.focus())));
  return place;
}
