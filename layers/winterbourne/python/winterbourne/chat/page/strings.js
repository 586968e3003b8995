// The page's words, from the one file of its language; dates, numbers and sizes as its readers write them.

import { config } from "./config.js";

const { lang } = document.documentElement;
/** The reader's own way of writing dates and numbers, if it is one of the page's language. */
export const locale = navigator.languages.find((each) => each.split("-")[0] === lang) ?? lang;
const plurals = new Intl.PluralRules(lang);

/** The string "section.name", if there is one, with `values` in place of {their names}; its plural by `values.count`. */
export function t(name, values = {}) {
  const [section, key] = name.split(".");
  const found = config.strings[section][key] ?? "";
  const text = typeof found === "object" ? found[plurals.select(values.count)] ?? found.other : found;
  return text.replace(/\{(\w+)\}/g, (_, value) => typeof values[value] === "number" ? formatNumber(values[value]) : values[value]);
}

/** A number as people write it; `options` are those of Intl.NumberFormat. */
export function formatNumber(value, options) {
  return new Intl.NumberFormat(locale, options).format(value);
}

/** A number with its unit, apart from it as in 8.7 °C. */
export function formatUnit(value, unit, options) {
  return formatNumber(value, { style: "unit", unit, ...options }).replace(/(\d)(?=[°a-z])/i, "$1\u00a0");
}

/** A duration: milliseconds below ten of them, else seconds. */
export function formatDuration(ms, digits = 2) {
  const places = { unitDisplay: "narrow", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return ms < 10 ? formatUnit(Math.round(ms), "millisecond") : formatUnit(ms / 1000, "second", places);
}

/** A size in bytes, as 340 kB or 1.2 MB. */
export function formatSize(bytes) {
  const [value, unit] = bytes < 1e6 ? [Math.max(1, bytes / 1e3), "kilobyte"] : [bytes / 1e6, "megabyte"];
  return formatNumber(value, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: value < 10 ? 1 : 0 });
}

/** Names as one: a, b and c. */
export function formatList(names) {
  return new Intl.ListFormat(locale).format(names);
}

/** A date or time; `options` are those of Intl.DateTimeFormat. */
export function formatDate(value, options) {
  return new Intl.DateTimeFormat(locale, options).format(value);
}
