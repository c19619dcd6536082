/**
 * A small menu beside a button: arrow keys, Home, End, Esc; focus returns to the button.
 */
import { el } from "./dom.js";
import { icon } from "./icons.js";

const GAP = 4;

let current = null;

export function closeMenu() {
  current?.close();
}

/**
 * Open a menu at `button`. An item is {label, icon, run, danger, checked}; with `checked` set the
 * items are choices of one.
 */
export function openMenu(button, label, items) {
  const wasOpenHere = current?.button === button;
  closeMenu();
  if (wasOpenHere) return;
  const menu = el("div", { class: "menu", role: "menu", "aria-label": label });
  const close = (focus = false) => {
    current = null;
    menu.remove();
    button.setAttribute("aria-expanded", "false");
    for (const [type, listener] of outside) window.removeEventListener(type, listener, true);
    if (focus) button.focus();
  };
  const outside = [
    ["pointerdown", (event) => !menu.contains(event.target) && !button.contains(event.target) && close()],
    ["resize", () => close()],
    ["scroll", (event) => !menu.contains(event.target) && close()],
  ];
  for (const item of items) menu.append(makeItem(item, () => close(true)));
  menu.addEventListener("keydown", (event) => onKey(event, menu, close));
  document.body.append(menu);
  placeAt(menu, button);
  for (const [type, listener] of outside) window.addEventListener(type, listener, true);
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "true");
  current = { button, close };
  (menu.querySelector("[aria-checked=true]") ?? menu.firstChild).focus();
}

function makeItem(item, close) {
  const isChoice = item.checked !== undefined;
  const props = {
    type: "button",
    class: item.danger ? "menu-item danger" : "menu-item",
    role: isChoice ? "menuitemradio" : "menuitem",
    tabindex: "-1",
    "aria-checked": isChoice ? String(item.checked) : null,
    on: {
      click: () => {
        close();
        item.run();
      },
    },
  };
  const mark = item.checked ? icon("check") : null;
  return el("button", props, icon(item.icon), el("span", {}, item.label), mark);
}

function onKey(event, menu, close) {
  const items = [...menu.children];
  const at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to !== undefined) items.at(to % items.length).focus();
  else if (event.key === "Escape" || event.key === "Tab") close(true);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function placeAt(menu, button) {
  const anchor = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = anchor.bottom + GAP;
  const top = below + height > window.innerHeight ? anchor.top - GAP - height : below;
  const left = Math.min(anchor.left, window.innerWidth - width - 2 * GAP);
  menu.style.top = `${Math.max(GAP, top)}px`;
  menu.style.left = `${Math.max(GAP, left)}px`;
}
