// What tools are given and find, as people write it. A value of which it is not sure what it is stays as it is.

import { formatDate, formatNumber, formatUnit } from "./strings.js";

const UNITS = {
  percent: "percent", pct: "percent", c: "celsius", celsius: "celsius", f: "fahrenheit", fahrenheit: "fahrenheit",
  km_h: "kilometer-per-hour", kmh: "kilometer-per-hour", mph: "mile-per-hour", m_s: "meter-per-second",
  km: "kilometer", kg: "kilogram", ms: "millisecond", seconds: "second", minutes: "minute",
};
const CURRENCIES = ["usd", "eur", "gbp", "chf", "jpy"];
const SUFFIX = new RegExp(`^(.+)_(${[...Object.keys(UNITS), ...CURRENCIES].join("|")})$`);
const MONEY = /(^|_)(price|amount|cost|fee|balance|total|result)$/;
const RATIO = /(price|cost|rate|fee|per)s?$/; // a price_kg is no weight
const WARMTH = /temp|feels_like|dew_point/; // but a vitamin_c is none
const MEASURE = /^(value|quantity|temperature|distance|speed|weight)$/;
const DATE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/;

/** The values of an object that are no lists or objects, each with its name: [[name, text]]. */
export function readable(data) {
  if (data == null) return [];
  if (typeof data !== "object") return [["", String(data)]];
  const rows = Object.entries(data).filter(([, value]) => value !== null && typeof value !== "object");
  const found = [];
  for (let index = 0; index < rows.length; index += 1) {
    const [key, value] = rows[index];
    const text = typeof value === "number" && beside(key, value, rows[index + 1] ?? []);
    if (text) index += 1;
    found.push(text ? [key, text] : typeof value === "number" ? byName(key, value) : [key, asDate(String(value))]);
  }
  return found;
}

// A number whose unit or currency is the next value.
function beside(key, value, [nextKey, next]) {
  if (MONEY.test(key) && /(^|_)currency$/.test(nextKey) && /^[a-z]{3}$/i.test(next)) return money(value, next);
  if (nextKey === `${key}_unit` || (nextKey === "unit" && MEASURE.test(key))) return `${formatNumber(value, PLACES)}\u00a0${next}`;
}

function byName(key, value) {
  const [, name, suffix] = SUFFIX.exec(key) ?? [];
  const unit = UNITS[suffix];
  if (MONEY.test(name) && CURRENCIES.includes(suffix)) return [name, money(value, suffix)];
  const isSure = unit && (unit === "percent" || !RATIO.test(name)) && (suffix.length > 1 || WARMTH.test(name));
  return isSure ? [name, formatUnit(value, unit, PLACES)] : [key, String(value)];
}

const money = (value, currency) => formatNumber(value, { style: "currency", currency, maximumFractionDigits: 6 });

// Two places, or as many as say something.
const PLACES = { maximumFractionDigits: 2, maximumSignificantDigits: 3, roundingPriority: "morePrecision" };

// The time that a clock shows there, with what it differs from UTC if that is said.
function asDate(text) {
  const [, day, time, zone = ""] = DATE.exec(text) ?? [];
  const date = new Date(`${day}T${time ?? "00:00"}Z`);
  if (isNaN(date) || !date.toISOString().startsWith(day)) return text;
  const shown = formatDate(date, { dateStyle: "medium", timeStyle: time && "short", timeZone: "UTC" });
  return zone ? `${shown} ${zone.replace(/Z|[+-]00:00/, "UTC")}` : shown;
}
