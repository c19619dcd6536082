/**
 * The text of the page, from one catalogue.
 *
 * Knows keys and placeholders. The server embeds the catalogue in the page; a page without it
 * (a test, a single module) fetches the file.
 */

async function load() {
  const embedded = document.getElementById("strings")?.textContent.trim();
  if (embedded?.startsWith("{")) return JSON.parse(embedded);
  return (await fetch(new URL("strings.en.json", import.meta.url))).json();
}

const table = await load();

export const language = document.documentElement.lang || "en";
const plurals = new Intl.PluralRules(language);

/** Return the text of `key`; with a `count` the plural form `key.one` or `key.other` is taken. */
export function t(key, values = {}) {
  const form = "count" in values ? `${key}.${plurals.select(values.count)}` : key;
  const text = table[form] ?? table[`${key}.other`] ?? table[key];
  if (text === undefined) {
    console.error(`no text for ${key}`); // ugly, but the page lives
    return key;
  }
  return text.replace(/\{(\w+)\}/g, (hole, name) => values[name] ?? hole);
}
