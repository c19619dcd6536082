/**
 * The sheet of what was deleted: bring a chat back, end it for good, or end all of them.
 */
import { api } from "./api.js";
import { el, setText } from "./dom.js";
import { moment } from "./format.js";
import { LongList } from "./long_list.js";
import { button, makeSheet } from "./sheet.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const titleOf = ({ title }) => title || t("list.untitled");

/** Show the sheet; `conversations` takes back what is restored, `go` opens it. */
export function showTrash(conversations, go) {
  const sheet = makeSheet(t("trash.title"));
  const draw = async () => {
    const { conversations: found, total } = await api.trash();
    list.show(found.map((one) => ({ ...one, name: titleOf(one) })));
    setText(about, t("trash.about", { count: total }));
    about.hidden = empty.hidden = total === 0;
  };
  const restore = async ({ id }) => {
    await conversations.restore(id);
    sheet.close();
    go(id);
  };
  const endOne = async (one) => {
    if (!window.confirm(t("trash.sure", { title: titleOf(one) }))) return;
    await api.deleteForGood(one.id);
    await draw();
  };
  const endAll = async () => {
    if (!window.confirm(t("trash.empty_sure"))) return;
    const { deleted } = await api.emptyTrash();
    await draw();
    toast(t("trash.emptied", { count: deleted }));
  };
  const row = (one) => {
    const times = el("small", {}, t("trash.times", { deleted: moment(one.deleted_at), ends: moment(one.ends_at) }));
    const words = el("div", { class: "row-words" }, el("span", {}, titleOf(one)), times);
    const node = el("li", { class: "wraps" }, words, el("div", { class: "act-buttons" }, button(t("trash.restore"), () => restore(one)), button(t("trash.end"), () => endOne(one), { danger: true })));
    return { node, update() {} };
  };
  const list = new LongList({ row, filter: t("list.filter"), none: t("trash.none") });
  const about = el("p", { hidden: true });
  const empty = button(t("trash.empty"), endAll, { danger: true });
  empty.hidden = true;
  sheet.append(el("div", {}, about, list.node, empty));
  sheet.classList.add("account");
  sheet.addEventListener("close", () => sheet.remove());
  sheet.showModal();
  draw().catch(toastError);
}
