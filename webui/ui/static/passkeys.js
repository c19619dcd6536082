/**
 * Passkeys, in the sheet of one's own account: making, naming and removing them.
 */
import { api } from "./api.js";
import { el } from "./dom.js";
import { field, formOf } from "./field.js";
import { moment } from "./format.js";
import { button, section } from "./sheet.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";
import { hasPasskeys, makePasskey } from "./webauthn.js";

const MAX_NAME = 60;

/** The section; what is in it is fetched by itself. Who has no password waits for `confirmation`. */
export function passkeysSection(user, confirmation) {
  const list = el("ul", { class: "rows" });
  const place = el("div", {});
  const draw = () => drawPasskeys(list, draw).then((impossible) => impossible ?? (hasPasskeys() ? null : t("passkeys.unsupported")));
  const adding = (into) => {
    const close = () => into.replaceChildren(button(t("passkeys.add_open"), open));
    const open = () => {
      const { form, first } = makeForm(user, () => {
        if (user.has_password) close();
        else confirmation.look().catch(toastError); // it was good for this one
        draw().catch(toastError);
      });
      into.replaceChildren(form);
      first.focus();
    };
    close();
    return into;
  };
  const confirmed = () => confirmation.part("passkeys", { draw: () => adding(el("div", {})), otherwise: t("passkeys.no_password") });
  draw()
    .then((reason) => {
      if (reason) place.replaceChildren(el("p", {}, reason));
      else if (user.has_password) adding(place);
      else place.replaceChildren(confirmed());
    })
    .catch(toastError);
  return section(t("passkeys.title"), el("p", {}, t("passkeys.text")), list, place);
}

/** Draw the list; returns why none can be made at this address, or null. */
async function drawPasskeys(list, draw) {
  const { passkeys, impossible } = await api.passkeys();
  const remove = ({ id, name }) => (window.confirm(t("passkeys.remove_sure", { name })) ? api.deletePasskey(id).then(draw) : null);
  const rows = passkeys.map((passkey) => {
    const row = el("li", {}, words(passkey), button(t("passkeys.rename"), () => rename(row, passkey, draw)), button(t("passkeys.remove"), () => remove(passkey)));
    return row;
  });
  list.replaceChildren(...(rows.length ? rows : [el("li", {}, el("small", {}, t("passkeys.none")))]));
  return impossible;
}

function words(passkey) {
  const used = passkey.last_used_at ? t("account.last_used", { when: moment(passkey.last_used_at) }) : t("keys.never_used");
  const kept = passkey.is_backed_up ? t("passkeys.backed_up") : null;
  const more = [t("passkeys.made", { when: moment(passkey.created_at) }), used, kept].filter(Boolean).join(" · ");
  return el("div", { class: "row-words" }, el("span", {}, passkey.name), el("small", {}, more));
}

function rename(row, { id, name }, draw) {
  const fields = [field("name", { label: t("passkeys.name"), value: name, maxlength: MAX_NAME, autocomplete: "off" })];
  row.replaceChildren(formOf({ fields, action: t("passkeys.save"), send: (values) => api.renamePasskey(id, values.name), done: () => draw().catch(toastError) }));
  fields[0].input.select();
}

function makeForm(user, done) {
  const who = el("input", { type: "text", autocomplete: "username", hidden: true });
  who.value = user.name; // for password stores
  const name = field("name", { label: t("passkeys.name"), hint: t("passkeys.name_hint", { host: location.hostname }), maxlength: MAX_NAME, autocomplete: "off" });
  const password = field("password", { label: t("account.old_password"), type: "password", autocomplete: "current-password" });
  const send = async (values) => {
    const { options } = await api.passkeyOptions(values);
    return api.addPasskey(await makePasskey(options));
  };
  const form = formOf({ fields: user.has_password ? [name, password] : [name], action: t("passkeys.add"), send, done });
  form.prepend(who);
  return { form, first: name.input };
}
