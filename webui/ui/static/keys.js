/**
 * API keys, in the sheet of one's own account: making one, showing it once, last use, revoking.
 */
import { api, root } from "./api.js";
import { copyText, el } from "./dom.js";
import { boxes, choice, field, formOf } from "./field.js";
import { moment } from "./format.js";
import { icon } from "./icons.js";
import { button, section } from "./sheet.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const ENDPOINTS = ["chat", "embeddings", "models", "metrics", "manage", "conversations"];
const USUAL = ["chat", "embeddings", "models"];
const DAYS = [7, 30, 90, 365];
const MS_OF_DAY = 86_400_000;

/** The section, for who may make keys or has some; what is in it is fetched by itself. */
export function keysSection(user) {
  const mayMake = user.permissions.includes("api_keys");
  const list = el("ul", { class: "rows" });
  const given = el("div", { class: "given", role: "status" });
  const place = el("div", {});
  const draw = () => drawKeys(list, draw).then((count) => (node.hidden = !count && !mayMake), toastError);
  const close = () => place.replaceChildren(mayMake ? button(t("keys.make_open"), open) : el("p", {}, t("keys.may_not")));
  const open = async () => {
    const { form, first } = makeForm(await api.models(), async (made) => {
      close();
      await draw();
      await give(given, made).catch(toastError);
    });
    given.replaceChildren();
    place.replaceChildren(form);
    first.focus();
  };
  const node = section(t("keys.title"), el("p", {}, t("keys.text")), list, given, place);
  node.hidden = !mayMake;
  close();
  draw();
  return node;
}

/** Draw the keys; returns how many there are. `revoked` is called when there is one less. */
async function drawKeys(list, revoked) {
  const { keys } = await api.keys();
  const revoke = (key) => (window.confirm(t("keys.revoke_sure", { name: key.name })) ? api.deleteKey(key.id).then(revoked) : null);
  const rows = keys.map((key) => el("li", {}, words(key), button(t("keys.revoke"), () => revoke(key))));
  list.replaceChildren(...(rows.length ? rows : [el("li", {}, el("small", {}, t("keys.none")))]));
  return keys.length;
}

function words(key) {
  const opens = key.endpoints ?? ENDPOINTS;
  const scope = [...opens.map((one) => t(`keys.${one}`)), key.models?.join(", ") ?? t("keys.any_model")].join(", ");
  const used = key.last_used_at ? t("account.last_used", { when: moment(key.last_used_at) }) : t("keys.never_used");
  const ends = key.expires_at && (key.is_expired ? t("keys.ended") : t("keys.ends", { when: moment(key.expires_at) }));
  const times = [t("keys.begins", { prefix: key.prefix }), used, ends].filter(Boolean).join(" · ");
  return el("div", { class: key.is_expired ? "row-words off" : "row-words" }, el("span", {}, key.name), el("small", {}, times), el("small", {}, scope));
}

function makeForm({ models }, done) {
  const name = field("name", { label: t("keys.name"), autocomplete: "off", maxlength: 60 });
  const endpoints = boxes("endpoints", { label: t("keys.endpoints"), choices: ENDPOINTS.map((one) => [one, t(`keys.${one}`)]), chosen: USUAL });
  const files = models.filter(({ error }) => !error).map((model) => [model.id, model.name]);
  const only = boxes("models", { label: t("keys.only_models"), choices: files, hint: t("keys.only_models_hint") });
  const days = DAYS.map((count) => [String(count), t("keys.days", { count })]);
  const expires = choice("expires_at", { label: t("keys.expires"), choices: [["", t("keys.never")], ...days], value: "90" });
  const fields = [name, endpoints, ...(files.length ? [only] : []), expires];
  const form = formOf({ fields, action: t("keys.make"), send: (values) => api.makeKey(bodyOf(values)), done });
  return { form, first: name.input };
}

function bodyOf({ name, endpoints, models = [], expires_at: days }) {
  const end = days ? new Date(Date.now() + Number(days) * MS_OF_DAY).toISOString() : null;
  return { name, endpoints, models: models.length ? models : null, expires_at: end };
}

/** Show a key, which nobody can read again, and how programs use it. */
async function give(place, { key, view }) {
  const server = new URL(root, location.origin).href.replace(/\/$/, "");
  const model = view.models ? "" : ((await api.health()).model.name ?? "");
  const opens = view.endpoints ?? ENDPOINTS;
  place.replaceChildren(
    el("p", {}, t("keys.made", { name: view.name })),
    el("p", { class: "given-password" }, el("code", {}, key), copyButton(t("keys.copy"), key)),
    el("p", {}, t("keys.once")),
    example(t("keys.curl"), curl(server, key, opens)),
    opens.includes("chat") ? example(t("keys.python"), python(server, key, model)) : "",
  );
  place.scrollIntoView({ block: "nearest" });
}

const copyButton = (label, text) => {
  const copy = () => copyText(text).then(() => toast(t("chat.copied")));
  return el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: copy } }, icon("copy"));
};

const example = (title, text) => el("div", { class: "example" }, el("small", {}, title), el("pre", {}, text), copyButton(t("keys.copy_example"), text));

function curl(server, key, opens) {
  const head = (path) => `curl ${server}${path} \\\n  -H "Authorization: Bearer ${key}"`;
  const sent = (path, body) => `${head(path)} \\\n  -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(body)}'`;
  if (opens.includes("chat")) return sent("/v1/chat/completions", { messages: [{ role: "user", content: "Hello" }] });
  if (opens.includes("embeddings")) return sent("/v1/embeddings", { input: ["Hello"] });
  const paths = { models: "/v1/models", metrics: "/metrics", manage: "/api/models", conversations: "/api/conversations" };
  return head(paths[opens[0]]);
}

function python(server, key, model) {
  return [
    "from openai import OpenAI",
    "",
    "client = OpenAI(",
    `    base_url="${server}/v1",`,
    `    api_key="${key}",`,
    ")",
    "reply = client.chat.completions.create(",
    `    model=${JSON.stringify(model)},`,
    '    messages=[{"role": "user", "content": "Hello"}],',
    ")",
    "print(reply.choices[0].message.content)",
  ].join("\n");
}
