/** Stroke icons as SVG nodes: no icon font, no request. */

const SHAPES = {
  arrow_down: '<path d="M12 5v14M19 12l-7 7-7-7"/>',
  arrow_up: '<path d="M12 19V5M5 12l7-7 7 7"/>',
  chat: '<path d="M20 11.5a7.5 7.5 0 0 1-11 6.6L4 19.5l1.4-4.6A7.5 7.5 0 1 1 20 11.5z"/>',
  check: '<path d="M5 12.5l4.5 4.5L19 7.5"/>',
  chevron: '<path d="M9 6l6 6-6 6"/>',
  chip: '<rect x="6" y="6" width="12" height="12" rx="2.5"/><path d="M9.5 2.5v3.5M14.5 2.5v3.5M9.5 18v3.5M14.5 18v3.5M2.5 9.5h3.5M2.5 14.5h3.5M18 9.5h3.5M18 14.5h3.5"/>',
  close: '<path d="M6 6l12 12M18 6L6 18"/>',
  copy: '<rect x="9" y="9" width="11" height="11" rx="2.5"/><path d="M5 15V6.5A2.5 2.5 0 0 1 7.5 4H15"/>',
  delete: '<path d="M4 7h16M9.5 7V4.5h5V7M6.5 7l.8 12a1.5 1.5 0 0 0 1.5 1.5h6.4a1.5 1.5 0 0 0 1.5-1.5l.8-12M10 11v5.5M14 11v5.5"/>',
  download: '<path d="M12 4v11M7 11l5 5 5-5M5 20h14"/>',
  edit: '<path d="M4 20l1-4.2L16.2 4.6a1.9 1.9 0 0 1 2.7 0l.5.5a1.9 1.9 0 0 1 0 2.7L8.2 19z"/><path d="M14 7l3 3"/>',
  eye: '<path d="M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z"/><circle cx="12" cy="12" r="2.8"/>',
  forward: '<path d="M5 5l9 7-9 7zM19 5v14"/>',
  keyboard: '<rect x="2.5" y="6" width="19" height="12" rx="2.5"/><path d="M6.5 10h.01M10.5 10h.01M14.5 10h.01M17.5 10h.01M8 14h8"/>',
  left: '<path d="M15 6l-6 6 6 6"/>',
  link: '<path d="M10 14a4 4 0 0 0 5.7 0l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1"/>',
  monitor: '<rect x="3" y="4.5" width="18" height="12" rx="2"/><path d="M9 20h6M12 16.5V20"/>',
  moon: '<path d="M20.5 13.5A8.5 8.5 0 1 1 10.5 3.5a7 7 0 0 0 10 10z"/>',
  more: '<circle cx="5.5" cy="12" r=".6"/><circle cx="12" cy="12" r=".6"/><circle cx="18.5" cy="12" r=".6"/>',
  people: '<circle cx="9" cy="8.5" r="3.5"/><path d="M2.5 20a6.5 6.5 0 0 1 13 0M16 5.4a3.5 3.5 0 0 1 0 6.2M18 14.2a6.5 6.5 0 0 1 3.5 5.8"/>',
  person: '<circle cx="12" cy="8" r="4"/><path d="M4.5 20.5a7.5 7.5 0 0 1 15 0"/>',
  phone: '<rect x="7" y="2.5" width="10" height="19" rx="2.5"/><path d="M11 18.5h2"/>',
  picture: '<rect x="3.5" y="4.5" width="17" height="15" rx="2.5"/><circle cx="9" cy="10" r="1.5"/><path d="M4 17l5-4 3.5 2.5L16 12l4.5 4.5"/>',
  plus: '<path d="M12 5v14M5 12h14"/>',
  retry: '<path d="M20 12a8 8 0 1 1-2.6-5.9L20 8.5M20 3.5v5h-5"/>',
  search: '<circle cx="11" cy="11" r="6.5"/><path d="M20 20l-4.2-4.2"/>',
  sign_out: '<path d="M14 4.5H7A2.5 2.5 0 0 0 4.5 7v10A2.5 2.5 0 0 0 7 19.5h7M10 12h11M17 8l4 4-4 4"/>',
  share: '<path d="M12 15V4M8 7.5L12 3.5l4 4M7 11H5.5v9.5h13V11H17"/>',
  sidebar: '<rect x="3" y="4.5" width="18" height="15" rx="3"/><path d="M9 4.5v15"/>',
  sun: '<circle cx="12" cy="12" r="4"/><path d="M12 2.5v2.5M12 19v2.5M2.5 12H5M19 12h2.5M5.3 5.3l1.7 1.7M17 17l1.7 1.7M18.7 5.3L17 7M7 17l-1.7 1.7"/>',
  warning: '<path d="M12 4L2.8 19.5h18.4zM12 10v4.5M12 17h.01"/>',
};

const template = document.createElement("template");
const drawn = new Map();

function draw(name) {
  if (!(name in SHAPES)) throw new Error(`no icon ${name}`);
  template.innerHTML = `<svg class="icon" viewBox="0 0 24 24" width="18" height="18" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${SHAPES[name]}</svg>`;
  return template.content.firstChild;
}

/** A fresh copy of the icon `name`. */
export function icon(name) {
  if (!drawn.has(name)) drawn.set(name, draw(name));
  return drawn.get(name).cloneNode(true);
}

/** The square that stands for "stop". */
export function stopIcon() {
  template.innerHTML =
    '<svg class="icon" viewBox="0 0 24 24" width="18" height="18" fill="currentColor" aria-hidden="true"><rect x="6.5" y="6.5" width="11" height="11" rx="2"/></svg>';
  return template.content.firstChild.cloneNode(true);
}

/** The mark of the house: a flame in a hearth. */
export function brandMark() {
  template.innerHTML =
    '<svg class="brand-mark" viewBox="0 0 32 32" width="22" height="22" aria-hidden="true"><path fill="currentColor" d="M4 27V15C4 8.4 9.4 3 16 3s12 5.4 12 12v12a2 2 0 0 1-2 2h-3.5c1.6-1.5 2.5-3.6 2.5-6 0-5-4.2-6.6-5-12-4.2 2-5.6 5.2-5.5 8-1.2-.7-1.8-1.8-2-3C9.5 18 7 20 7 23.5c0 2.2.9 4 2.5 5.5H6a2 2 0 0 1-2-2z"/><path fill="currentColor" d="M16 29c-2.6 0-4.3-1.6-4.3-3.9 0-1.5.7-2.6 1.7-3.5.2 1 .8 1.7 1.6 2 0-1.9.9-3.6 2.6-4.6.2 2.6 2.7 3.6 2.7 6.1 0 2.3-1.7 3.9-4.3 3.9z"/></svg>';
  return template.content.firstChild.cloneNode(true);
}
