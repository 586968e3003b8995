// What tools are given and find, as people write it. A value of which it is not sure what it is stays as it is.

import { formatDate, formatNumber, formatUnit } from "./strings.js";

const UNITS = {
  c: "celsius", f: "fahrenheit", pct: "percent", km_h: "kilometer-per-hour", kmh: "kilometer-per-hour", mph: "mile-per-hour",
  m_s: "meter-per-second", km: "kilometer", kg: "kilogram", ms: "millisecond", seconds: "second", minutes: "minute",
};
const UNIT = /^(.+)_(celsius|fahrenheit|percent|[cf]|pct|km_?h|mph|m_s|km|kg|ms|seconds|minutes)$/;
const RATIO = /(price|cost|rate|fee|per)s?_(?!percent|pct)/; // a price_kg is no weight
const WARMTH = /temp|feels_like|dew_point/; // but a vitamin_c is none
const MONEY = /(?:^|_)(?:price|amount|cost|fee|balance|total|result)(?:_(usd|eur|gbp|chf|jpy))?$/;
const DATE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/;

/** The values of an object that are no lists or objects, each with its name: [[name, text]]. */
export function readable(data) {
  if (data == null) return [];
  if (typeof data !== "object") return [["", String(data)]];
  const rows = Object.entries(data).filter(([, value]) => value !== null && typeof value !== "object");
  return rows.flatMap(([name, value], index) => {
    if (unitOf(...rows[index - 1] ?? [], name, value)) return []; // is said with it
    if (typeof value !== "number") return [[name, asDate(String(value))]];
    const [short, text] = measured(name, value, ...rows[index + 1] ?? []);
    return [[short in data ? name : short, text]]; // change and change_percent are two things
  });
}

// The currency or the unit of a number, if the value after it is that.
function unitOf(name, value, nextName, next) {
  if (typeof value !== "number" || typeof next !== "string") return null;
  if (MONEY.test(name) && /(^|_)currency$/.test(nextName) && /^[a-z]{3}$/i.test(next)) return money(value, next);
  return nextName === `${name}_unit` || (nextName === "unit" && name === "value") ? `${formatNumber(value, PLACES)}\u00a0${next}` : null;
}

function measured(name, value, ...next) {
  const beside = unitOf(name, value, ...next), currency = MONEY.exec(name)?.[1];
  if (beside) return [name, beside];
  if (currency) return [name.slice(0, -4), money(value, currency)];
  const [, short, suffix] = UNIT.exec(name) ?? [];
  const isSure = suffix && !RATIO.test(name) && (suffix.length > 1 || WARMTH.test(name));
  if (!isSure) return [name, String(value)];
  return [short, formatUnit(value, UNITS[suffix] ?? suffix, PLACES)];
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
