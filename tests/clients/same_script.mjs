// Whether two scripts are the same but for the names of their variables: node same_script.mjs ONE OTHER.
// Prints what differs, and the names that were replaced, as JSON.

import { readFileSync } from "node:fs";
import { parse } from "@babel/parser";

const IGNORED = new Set(["start", "end", "loc", "extra", "shorthand"]);
const [one, other] = process.argv.slice(2).map((path) => parse(readFileSync(path, "utf8"), { sourceType: "module" }).program);
const [names, origins, differences] = [new Map(), new Map(), []];

compare(one, other, "");
const replaced = [...names].filter(([name, replacement]) => name !== replacement).map(([name]) => name);
console.log(JSON.stringify({ differences, replaced }));

function compare(left, right, path) {
  if (left === null || typeof left !== "object") {
    if (left !== right) differences.push([path, left, right]);
  } else if (Array.isArray(left) ? left.length !== right?.length : left.type !== right?.type) differences.push([path]);
  else if (left.type === "Identifier") compareNames(left.name, right.name, path);
  else for (const key of Object.keys(left)) if (!IGNORED.has(key)) compareField(left, right, key, `${path}.${key}`);
}

// A name stands for one variable's name everywhere, and that for it.
function compareNames(left, right, path) {
  if ((names.get(left) ?? right) !== right || (origins.get(right) ?? left) !== left) differences.push([path, left, right]);
  names.set(left, right);
  origins.set(right, left);
}

function compareField(left, right, key, path) {
  const isName = left[key]?.type === "Identifier" && !left.computed
    && (["key", "property"].includes(key) || left.type === "PrivateName");
  if (!isName) compare(left[key], right[key], path);
  else if (left[key].name !== right[key]?.name) differences.push([path, left[key].name]);
}
