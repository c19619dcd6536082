/**
 * The sheet "Open on another device": addresses of this server, the QR code of one of them, and
 * what a browser there may lack. Asked anew each time it is opened, since addresses change.
 */
import { api, root } from "./api.js";
import { copyText, el } from "./dom.js";
import { icon } from "./icons.js";
import { makeSheet } from "./sheet.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

export async function showDevices() {
  let lan;
  try {
    lan = await api.lan();
  } catch (error) {
    toastError(error);
    return;
  }
  const sheet = makeSheet(t("lan.title"), lan.is_open ? ways(lan) : closed());
  sheet.classList.add("devices");
  sheet.addEventListener("close", () => sheet.remove());
  sheet.showModal();
}

function closed() {
  return el("div", {}, el("p", {}, t("lan.closed")), el("p", {}, t("lan.closed_hint"), " ", el("code", {}, "--listen")));
}

function ways({ addresses, fingerprint }) {
  const code = el("div", { class: "device-code", role: "img" });
  const notes = el("div", { class: "device-notes" });
  const choices = addresses.map((address) => {
    const choose = { type: "button", class: "device-url", on: { click: () => show(address) } };
    const copy = { type: "button", class: "icon-button", title: t("lan.copy"), "aria-label": t("lan.copy_of", { url: address.url }) };
    const button = el("button", choose, address.url);
    const copied = () => copyText(address.url).then(() => toast(t("chat.copied")));
    return { address, button, row: el("li", {}, button, el("button", { ...copy, on: { click: copied } }, icon("copy"))) };
  });
  const show = (address) => {
    code.replaceChildren(drawn(address.qr));
    code.setAttribute("aria-label", t("lan.code_of", { url: address.url }));
    for (const choice of choices) choice.button.setAttribute("aria-pressed", String(choice.address === address));
    notes.replaceChildren(...notesOn(address, fingerprint));
  };
  show(addresses[0]);
  return el("div", { class: "device-ways" }, code, el("p", {}, t("lan.scan")), el("ul", {}, choices.map(({ row }) => row)), notes);
}

function notesOn({ url }, fingerprint) {
  if (url.startsWith("http:")) return [el("p", {}, t("lan.plain_http"), " ", el("code", {}, "--tls"))];
  if (!fingerprint) return [];
  const file = el("a", { href: `${root}ca.crt`, download: "hearthside-ca.crt" }, t("lan.authority_file"));
  return [el("p", {}, t("lan.authority"), " ", file), el("p", {}, t("lan.fingerprint"), " ", el("code", {}, fingerprint))];
}

/** The server's SVG as a node; what is in it that could run would not, and there is nothing. */
function drawn(svg) {
  const node = document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true);
  node.setAttribute("aria-hidden", "true");
  return node;
}
