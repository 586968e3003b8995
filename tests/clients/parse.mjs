// Parses scripts, TypeScript and JSX included: a list of {name, code} in, those that cannot be parsed and why out.
import { parse } from "@babel/parser";
import { readFileSync } from "node:fs";

const wrong = [];
for (const { name, code } of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    parse(code, { sourceType: "module", plugins: ["typescript", "jsx"] });
  } catch (error) {
    wrong.push(`${name}: ${error.message}`);
  }
}
console.log(JSON.stringify(wrong));
