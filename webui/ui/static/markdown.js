/**
 * Markdown of models and people, block by block.
 *
 * Raw HTML is escaped, what comes out is sanitised against a short list of tags, images are never
 * fetched. While text grows only the blocks at its end are lexed and drawn again.
 */
import { decorate, growCode } from "./decorate.js";
import { DOMPurify, Marked } from "./vendor/markdown.bundle.js";
import { t } from "./strings.js";

const UNSETTLED = 2; // blocks at the end that more text may still change
const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;

function escape(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (mark) => names[mark]);
}

const mathBlock = {
  name: "mathBlock",
  level: "block",
  start: (source) => source.match(/^ {0,3}(?:\$\$|\\\[)/m)?.index,
  tokenizer(source) {
    const match = /^ {0,3}(?:\$\$([^]+?)\$\$|\\\[([^]+?)\\\])[ \t]*(?:\n|$)/.exec(source);
    return match ? { type: "mathBlock", raw: match[0], text: match[1] ?? match[2] } : undefined;
  },
  renderer: (token) => `<div data-tex="${escape(token.text.trim())}" data-display="1"></div>`,
};

const mathInline = {
  name: "mathInline",
  level: "inline",
  start: (source) => source.match(/\$|\\[([]/)?.index,
  tokenizer(source) {
    const match =
      /^\$\$([^$]+?)\$\$/.exec(source) ??
      /^\\\[([^]+?)\\\]/.exec(source) ??
      /^\\\(([^]+?)\\\)/.exec(source) ??
      /^\$(?![\s$])((?:\\\$|[^$\n])+?)(?<![\s\\])\$(?!\d)/.exec(source);
    if (!match) return undefined;
    const display = match[0].startsWith("$$") || match[0].startsWith("\\[");
    return { type: "mathInline", raw: match[0], text: match[1], display };
  },
  renderer: (token) => `<span data-tex="${escape(token.text.trim())}"${token.display ? ' data-display="1"' : ""}></span>`,
};

const renderer = {
  html({ text, block }) {
    if (/^<br\s*\/?>$/i.test(text.trim())) return "<br>";
    return block ? `<p>${escape(text.trim()).replaceAll("\n", "<br>")}</p>` : escape(text);
  },
  code: ({ text, lang }) =>
    `<pre><code data-lang="${escape((lang ?? "").trim().split(/\s+/)[0])}">${escape(text)}</code></pre>`,
  image({ href, text }) {
    const label = escape(text || t("chat.image"));
    if (!/^https?:\/\//i.test(href)) return `<span data-image="1">${label}</span>`;
    return `<a href="${escape(href)}" data-image="1">${label}</a>`;
  },
  link({ href, tokens }) {
    const text = this.parser.parseInline(tokens);
    return SAFE_LINK.test(href) ? `<a href="${escape(href)}">${text}</a>` : text;
  },
};

const marked = new Marked({ gfm: true, breaks: false, extensions: [mathBlock, mathInline], renderer });

const ALLOWED = {
  ALLOWED_TAGS:
    "p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote table thead tbody tr th td pre code span div em strong del a input".split(" "),
  ALLOWED_ATTR:
    "href align start type checked disabled data-lang data-tex data-display data-image".split(" "),
  ALLOWED_URI_REGEXP: SAFE_LINK,
  ADD_URI_SAFE_ATTR: "align start type checked disabled data-lang data-tex data-display data-image".split(" "),
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  } else if (node.tagName === "INPUT" && node.getAttribute("type") !== "checkbox") {
    node.remove();
  }
});

/** Close what is open at the end of a growing paragraph, so that half a mark does not flicker. */
export function mend(text) {
  const bare = text.replace(/`[^`\n]*`/g, "");
  if ((bare.match(/`/g) ?? []).length === 1) return `${text}\``;
  let mended = text.replace(/!?\[[^\]\n]*\]\([^)\s]*$/, "");
  if ((bare.match(/\*\*/g) ?? []).length % 2 === 1) mended = `${mended.replace(/\s*\**$/, "")}**`;
  return mended;
}

const isShown = (token) => token.type !== "space" && token.type !== "def";

/** A view of one Markdown text; `set` brings it up to date. */
export class MarkdownView {
  node = document.createElement("div");
  #blocks = []; // {raw, node} in order
  #text = "";
  #settled = { blocks: 0, chars: 0 };
  #wasLive = false;

  constructor() {
    this.node.className = "rendered";
  }

  /** Show `text`. `live`: more will come. */
  set(text, { live = false } = {}) {
    if (text === this.#text && live === this.#wasLive) return;
    this.#wasLive = live;
    if (!live && DEFINITION.test(text)) this.#doubt();
    if (!live || !text.startsWith(this.#text.slice(0, this.#settled.chars))) {
      this.#settled = { blocks: 0, chars: 0 };
    }
    this.#text = text;
    const { blocks, chars } = this.#settled;
    const tokens = marked.lexer(text.slice(chars));
    this.#draw(tokens, blocks, live);
    if (live) this.#settle(tokens);
  }

  /** A definition further down may have made links of what stands in brackets: draw those anew. */
  #doubt() {
    for (const block of this.#blocks) if (block.raw.includes("[")) block.raw = null;
  }

  #draw(tokens, first, live) {
    const shown = tokens.filter(isShown);
    shown.forEach((token, offset) => this.#block(first + offset, token, live && offset === shown.length - 1));
    for (const block of this.#blocks.splice(first + shown.length)) block.node.remove();
  }

  #block(index, token, isOpen) {
    if (isOpen && token.type === "code") token.text = token.text.replace(/\n`{1,2}$/, ""); // a fence in the making
    const raw = isOpen && token.type === "paragraph" ? mend(token.raw) : token.raw;
    const block = this.#blocks[index];
    if (block?.raw === raw && block.isOpen === isOpen) return;
    if (block && token.type === "code" && growCode(block.node, token, isOpen)) {
      Object.assign(block, { raw, isOpen });
      return;
    }
    if (block?.raw === raw && token.type !== "code") {
      block.isOpen = isOpen;
      return;
    }
    const drawn = raw === token.raw ? [token] : marked.lexer(raw);
    const node = block?.node ?? document.createElement("div");
    node.className = "block";
    try {
      node.replaceChildren(DOMPurify.sanitize(marked.parser(drawn), ALLOWED));
      decorate(node, isOpen);
    } catch (error) {
      console.warn(error); // one block that cannot be drawn must not hide the others
      node.textContent = token.raw;
    }
    if (!block) this.node.append(node);
    this.#blocks[index] = { raw, node, isOpen };
  }

  /** Remember how far the text will not change any more, and lex from there the next time. */
  #settle(tokens) {
    const solid = tokens.filter(isShown);
    const keep = solid.at(-UNSETTLED);
    if (!keep || solid.length <= UNSETTLED) return;
    for (const token of tokens) {
      if (token === keep) break;
      this.#settled.chars += token.raw.length;
      if (isShown(token)) this.#settled.blocks += 1;
    }
  }
}
