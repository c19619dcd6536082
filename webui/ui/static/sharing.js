/**
 * The sheet of sharing a conversation: with whom, as it is or live, for how long; and revoking.
 *
 * Nobody is chosen at first, and the button says who will read how much before it is pressed.
 */
import { api, root } from "./api.js";
import { copyText, el } from "./dom.js";
import { boxes, choice, formOf } from "./field.js";
import { moment } from "./format.js";
import { icon } from "./icons.js";
import { button, makeSheet, section } from "./sheet.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const DAYS = [1, 7, 30];
const MS_OF_DAY = 86_400_000;

/** Show the sheet for the conversation `id`; `shares` hears of what was done. */
export async function showSharing(id, shares) {
  try {
    const choices = await api.shareChoices(id);
    const title = choices.title || t("list.untitled");
    const list = el("ul", { class: "rows" });
    const place = el("div", {});
    const sheet = makeSheet(t("share.title", { title }), list, place);
    sheet.classList.add("account", "sharing");
    sheet.addEventListener("close", () => sheet.remove());
    new Sheet(id, shares, { list, place }).draw(choices);
    sheet.showModal();
  } catch (error) {
    toastError(error);
  }
}

class Sheet {
  constructor(id, shares, { list, place }) {
    Object.assign(this, { id, shares, list, place });
  }

  draw(choices) {
    this.choices = choices;
    this.#drawShares(choices.shares);
    const isAlone = choices.num_everybody === 0;
    this.place.replaceChildren(section(t("share.with"), isAlone ? el("p", {}, t("share.nobody")) : this.#form()));
  }

  #drawShares(shares) {
    const rows = shares.map((share) => el("li", {}, words(share), linkButton(share), button(t("share.revoke"), () => this.#revoke(share))));
    this.list.replaceChildren(...rows);
    this.list.hidden = rows.length === 0;
  }

  async #revoke(share) {
    await api.revokeShare(share.id);
    await this.#again();
  }

  async #again() {
    this.shares.refresh();
    this.draw(await api.shareChoices(this.id));
  }

  #form() {
    const { people, groups, num_everybody: count, num_messages: messages } = this.choices;
    const person = boxes("user_ids", { label: t("share.people"), choices: people.map((one) => [one.id, one.name]) });
    const names = groups.map((one) => [one.id, t("share.group", { name: one.name, count: one.num_people })]);
    const group = boxes("group_ids", { label: t("share.groups"), choices: names, hint: t("share.groups_hint") });
    const all = boxes("everybody", { label: t("share.all"), choices: [["yes", t("share.everybody", { count })]], hint: t("share.everybody_hint") });
    const kinds = [["", t("share.snapshot", { count: messages })], ["live", t("share.live")]];
    const kind = choice("is_live", { label: t("share.what"), choices: kinds, value: "" });
    const days = DAYS.map((one) => [String(one), t("share.days", { count: one })]);
    const expires = choice("expires_at", { label: t("share.ends"), choices: [["", t("share.never")], ...days], value: "" });
    const fields = [person, ...(groups.length ? [group] : []), all, kind, expires];
    const form = formOf({ fields, action: t("share.nobody_yet"), send: (values) => this.#send(values), done: () => this.#done() });
    const go = form.querySelector(".field-go");
    const say = () => this.#say(go, { people: person.input.value, groups: group.input.value, everybody: all.input.value, isLive: kind.input.value });
    form.addEventListener("change", say);
    say();
    return form;
  }

  /** Say on the button who will read how much. */
  #say(go, { people, groups, everybody, isLive }) {
    const { groups: known, num_everybody: all, num_messages: messages } = this.choices;
    const inGroups = known.filter((one) => groups.includes(one.id)).reduce((sum, one) => sum + one.num_people, 0);
    const count = everybody.length ? all : Math.min(all, people.length + inGroups);
    const isNobody = !people.length && !groups.length && !everybody.length;
    go.disabled = isNobody;
    const who = t(groups.length && !everybody.length ? "share.up_to" : "share.exactly", { count });
    const what = isLive ? t("share.all_to_come") : t("share.messages", { count: messages });
    go.textContent = isNobody ? t("share.nobody_yet") : t("share.go", { who, what });
  }

  #send({ user_ids, group_ids = [], everybody, is_live: kind, expires_at: days }) {
    const end = days ? new Date(Date.now() + Number(days) * MS_OF_DAY).toISOString() : null;
    const { id, choices } = this;
    return api.share({ conversation_id: id, user_ids, group_ids, everybody: everybody.length > 0, is_live: kind === "live", leaf_id: choices.leaf_id, expires_at: end });
  }

  #done() {
    toast(t("share.done"));
    this.#again().catch(toastError);
  }
}

/** The link leads those who may read it there, and nobody else. */
function linkButton({ id }) {
  const copy = () => copyText(new URL(`${root}s/${encodeURIComponent(id)}`, location.origin).href).then(() => toast(t("share.link_copied")));
  return el("button", { type: "button", class: "icon-button", "aria-label": t("share.copy_link"), title: t("share.copy_link"), on: { click: copy } }, icon("link"));
}

function words(share) {
  const who = share.name ?? t("share.everybody_short");
  const people = share.audience === "person" ? null : t("share.exactly", { count: share.num_people });
  const what = share.is_live ? t("share.is_live") : t("share.is_snapshot", { when: moment(share.created_at), count: share.num_messages });
  const ends = share.expires_at && (share.is_expired ? t("share.ended") : t("share.until", { when: moment(share.expires_at) }));
  const details = [people, what, ends].filter(Boolean).join(" · ");
  return el("div", { class: share.is_expired ? "row-words off" : "row-words" }, el("span", {}, who), el("small", {}, details));
}
