/** Figures for people: sizes, counts, times, in the language of the page. */
import { language, t } from "./strings.js";

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

function unit(value, name, digits) {
  const unitDisplay = name === "byte" ? "long" : "short"; // the short one has no plural
  const style = { style: "unit", unit: name, unitDisplay, maximumFractionDigits: digits };
  return new Intl.NumberFormat(language, style).format(value);
}

/** 93000000 → "93 MB". */
export function bytes(count) {
  let step = 0;
  let value = count;
  while (value >= 1000 && step < UNITS.length - 1) {
    value /= 1000;
    step += 1;
  }
  return unit(value, UNITS[step], step && value < 10 ? 1 : 0);
}

/** 134515008 → "135M". */
export function compact(count) {
  const style = { notation: "compact", maximumSignificantDigits: 3 };
  return new Intl.NumberFormat(language, style).format(count);
}

export function integer(count) {
  return new Intl.NumberFormat(language).format(count);
}

export function decimal(value, digits = 1) {
  const style = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(language, style).format(value);
}

/** 0.183 → "183 ms", 4.2 → "4.2 s", 83 → "1 min 23 s". */
export function duration(seconds, { whole = false } = {}) {
  if (whole && seconds < 59.5) return t("app.seconds", { n: integer(Math.round(seconds)) });
  if (seconds < 0.9995) return t("app.milliseconds", { n: integer(Math.round(seconds * 1000)) });
  if (seconds < 59.5) return t("app.seconds", { n: seconds < 10 ? decimal(seconds) : integer(Math.round(seconds)) });
  const all = Math.round(seconds);
  return t("app.minutes", { n: integer(Math.floor(all / 60)), seconds: integer(all % 60) });
}

/** A guess, as exact as guesses are: 7.3 → "7 s", 41.3 → "40 s", 186 → "3 min". */
export function roughly(seconds) {
  if (seconds >= 87.5) return t("app.whole_minutes", { n: integer(Math.round(seconds / 60)) });
  const step = seconds < 10 ? 1 : 5;
  return t("app.seconds", { n: integer(Math.max(1, Math.round(seconds / step) * step)) });
}

export function percent(fraction) {
  return new Intl.NumberFormat(language, { style: "percent" }).format(fraction);
}

/** The hour, with the day before it when that is not today. */
export function moment(iso) {
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  const style = today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(language, style).format(date);
}

/** The heading a conversation of that time stands under in the list. */
export function dateGroup(iso, now = new Date()) {
  const date = new Date(iso);
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const days = Math.ceil((midnight - date) / 86_400_000);
  if (days <= 0) return t("list.today");
  if (days === 1) return t("list.yesterday");
  if (days <= 7) return t("list.week");
  if (days <= 30) return t("list.month");
  const style = { month: "long", ...(date.getFullYear() !== now.getFullYear() && { year: "numeric" }) };
  return new Intl.DateTimeFormat(language, style).format(date);
}
