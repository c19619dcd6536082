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

/** The section; empty where this server has no provider. Who has no password waits for `confirmation`. */
export function linkSection(confirmation) {
  const place = el("div", {});
  draw(place, confirmation).catch(toastError);
  return place;
}

async function draw(place, confirmation) {
  const { link } = await api.oidcLink();
  const parts = link && (link.linked_at ? linked(place, link, confirmation) : linking(link, confirmation));
  place.replaceChildren(link ? section(t("link.title", { name: link.name }), ...parts) : "");
}

function linked(place, link, confirmation) {
  const unlink = button(t("link.unlink"), () => api.unlinkOidc().then(() => draw(place, confirmation)));
  const words = t("link.linked", { name: link.name, when: moment(link.linked_at) });
  return [el("p", {}, words), link.has_password ? unlink : el("p", {}, t("link.only_way"))];
}

function linking(link, confirmation) {
  const words = el("p", {}, t("link.text", { name: link.name }));
  const go = ({ url }) => location.assign(url);
  if (!link.has_password) {
    const send = () => button(t("link.link"), () => api.linkOidc({}).then(go));
    return [words, confirmation.part("link", { draw: send, otherwise: t("link.no_password") })];
  }
  const fields = [field("password", { label: t("account.old_password"), type: "password", autocomplete: "current-password" })];
  const form = formOf({ fields, action: t("link.link"), send: api.linkOidc, done: go });
  const place = el("div", {}, words);
  place.append(button(t("link.open"), () => (place.lastChild.replaceWith(form), fields[0].input.focus())));
  return [place];
}
