/**
 * Who is signed in, in the Admin tab: sign-ins and API keys of everybody, person by person, and
 * ending them.
 */
import { api, root } from "./api.js";
import { el, setText } from "./dom.js";
import { moment } from "./format.js";
import { LongList } from "./long_list.js";
import { button, section } from "./sheet.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const SHOWN_OF_ONE = 8;

export class SignedInSection {
  constructor() {
    this.list = new LongList({ row: (person) => this.#row(person), filter: t("signed_in.filter"), none: t("signed_in.none") });
    this.node = section(t("signed_in.title"), el("p", {}, t("signed_in.text")), this.list.node, button(t("signed_in.again"), () => this.load()));
  }

  async load() {
    this.list.show(byPerson(await api.signedIn()));
  }

  /** One person: by how much they are in, in a line that opens to what that is. */
  #row(first) {
    let person = first;
    const name = el("span", {});
    const words = el("small", {});
    const place = el("div", { class: "acts" });
    const summary = el("summary", {}, el("span", { class: "row-words" }, name, words));
    const details = el("details", { data: { id: person.id } }, summary, place);
    let parts = null;
    const update = (next) => {
      person = next;
      setText(name, person.name);
      setText(words, inWords(person));
      parts?.update(person);
    };
    const ended = async () => {
      if (details.isConnected) summary.focus({ preventScroll: true }); // the button that had it is gone
      await this.load().catch(toastError);
    };
    details.addEventListener("toggle", () => {
      if (!details.open || parts) return;
      parts = partsOf(() => person, ended);
      parts.update(person);
      place.replaceChildren(...parts.nodes);
    });
    update(person);
    return { node: el("li", {}, details), update };
  }
}

/** By what a sign-in began, from where, since when: what is known of it, in one line. */
export function aboutSignIn({ way, address, created_at: since }) {
  return [way && t(`account.by_${way}`), address, t("account.since", { when: moment(since) })].filter(Boolean).join(" · ");
}

/** People by what they are in, who was here last first; a filter finds devices and addresses too. */
function byPerson({ sessions, keys }) {
  const people = new Map();
  const of = (id, name) => people.get(id) ?? people.set(id, { id, name, sessions: [], keys: [] }).get(id);
  for (const one of sessions) of(one.user_id, one.user).sessions.push(one);
  for (const key of keys) of(key.owner_id, key.owner).keys.push(key);
  const seen = [...people.values()].map((person) => ({ ...person, at: lastUse(person), found: foundBy(person) }));
  return seen.sort((one, other) => other.at.localeCompare(one.at) || one.name.localeCompare(other.name));
}

const lastUse = ({ sessions, keys }) => [...sessions, ...keys].reduce((last, { last_used_at: at }) => (at && at > last ? at : last), "");

const foundBy = ({ name, sessions, keys }) => [name, ...sessions.flatMap(({ device, address }) => [device, address]), ...keys.flatMap((key) => [key.name, key.prefix])].join("\n");

function inWords({ sessions, keys, at }) {
  const used = at ? t("account.last_used", { when: moment(at) }) : t("keys.never_used");
  return [t("signed_in.sign_ins", { count: sessions.length }), keys.length && t("signed_in.keys", { count: keys.length }), used].filter(Boolean).join(" · ");
}

/** What somebody is in by; `ended` is called when there is less of it. */
function partsOf(person, ended) {
  const ways = new LongList({ row: (session) => sessionRow(session, ended), filter: t("signed_in.filter_own"), none: t("signed_in.no_sign_ins"), shown: SHOWN_OF_ONE });
  const keys = new LongList({ row: (key) => keyRow(key, ended), filter: t("signed_in.filter_keys"), none: t("keys.none"), shown: SHOWN_OF_ONE });
  const end = button(t("signed_in.end_all"), () => endAll(person(), ended), { danger: true });
  const update = (next) => {
    ways.show(next.sessions.map((one) => ({ ...one, name: one.device, found: `${one.device}\n${one.address}` })));
    keys.show(next.keys);
    end.hidden = next.sessions.length === 0;
  };
  return { nodes: [ways.node, el("div", {}, el("h4", {}, t("keys.title")), keys.node), el("div", { class: "act-buttons" }, end)], update };
}

const leave = () => location.assign(`${root}sign-in`);

async function endAll({ id, name, sessions }, ended) {
  if (!window.confirm(t("signed_in.end_all_sure", { name }))) return;
  await api.endSessionsOf(id);
  if (sessions.some((one) => one.is_current)) return leave();
  toast(t("signed_in.ended_all", { name }));
  await ended();
}

function sessionRow(first, ended) {
  const last = el("small", {});
  const device = first.device || t("account.some_device");
  const words = el("div", { class: "row-words" }, el("span", {}, device), el("small", {}, aboutSignIn(first)), last);
  const update = (session) => setText(last, session.is_current ? t("account.this_one") : t("account.last_used", { when: moment(session.last_used_at) }));
  const end = button(t("account.end"), async () => {
    await api.endSessionOf(first.user_id, first.id);
    return first.is_current ? leave() : ended();
  });
  end.setAttribute("aria-label", `${t("account.end")}: ${device}, ${first.address}`);
  update(first);
  return { node: el("li", {}, words, end), update };
}

function keyRow(first, ended) {
  const more = el("small", {});
  const words = el("div", { class: "row-words" }, el("span", {}, first.name), more);
  const update = (key) => {
    const used = key.last_used_at ? t("account.last_used", { when: moment(key.last_used_at) }) : t("keys.never_used");
    const ends = key.expires_at && t("keys.ends", { when: moment(key.expires_at) });
    setText(more, [t("keys.begins", { prefix: key.prefix }), used, ends].filter(Boolean).join(" · "));
  };
  const revoke = async () => {
    if (!window.confirm(t("keys.revoke_sure", { name: first.name }))) return;
    await api.deleteKeyOf(first.owner_id, first.id);
    await ended();
  };
  update(first);
  return { node: el("li", {}, words, button(t("keys.revoke"), revoke)), update };
}
