/**
 * Making DOM nodes.
 *
 * Strings become text nodes, never HTML: whatever a person or a model wrote is safe here.
 */

/** Make an element. `props`: `class`, `data`, `on` (events), attributes; false and null are left out. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "on") for (const [type, run] of Object.entries(value)) node.addEventListener(type, run);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Set the text of a node only when it differs, so that nothing is laid out for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Make the children of `parent` be `nodes`, in order, moving only what is out of place. */
export function reconcile(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  let place = parent.firstChild;
  for (const node of nodes) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
}

/** Move a living node into `parent`, keeping focus, selection and scroll positions. */
export function moveInto(parent, node) {
  if (node.parentNode === parent) return;
  if (typeof parent.moveBefore === "function" && node.isConnected && parent.isConnected) {
    parent.moveBefore(node, null);
    return;
  }
  const focused = node.contains(document.activeElement) ? document.activeElement : null;
  const range = focused && "selectionStart" in focused ? [focused.selectionStart, focused.selectionEnd] : null;
  const scrolled = [node, ...node.querySelectorAll("*")].filter((part) => part.scrollTop > 0);
  const tops = scrolled.map((part) => part.scrollTop);
  parent.append(node);
  scrolled.forEach((part, index) => (part.scrollTop = tops[index]));
  focused?.focus({ preventScroll: true });
  if (range && focused.setSelectionRange) focused.setSelectionRange(...range);
}

/** Put text on the clipboard, also where the clipboard API is missing (plain HTTP). */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "offscreen", readonly: true });
    area.value = text;
    document.body.append(area);
    const focused = document.activeElement;
    area.select();
    document.execCommand("copy");
    area.remove();
    focused?.focus?.({ preventScroll: true });
  }
}

export const phone = window.matchMedia("(max-width: 768px)");
const still = window.matchMedia("(prefers-reduced-motion: reduce)");

/** "smooth" unless the reader asked for less motion. */
export function scrollBehavior() {
  return still.matches ? "instant" : "smooth";
}
