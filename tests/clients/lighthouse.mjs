// Lighthouse's scores of the page at a URL, in a Chromium that listens on a port: of each category, and what cost points.

import lighthouse from "lighthouse";

const [url, port] = process.argv.slice(2);
const { lhr } = await lighthouse(url, { port: Number(port), output: "json", logLevel: "silent" });
const lost = ({ auditRefs }) => auditRefs
  .filter(({ id, weight }) => weight && lhr.audits[id].score !== null && lhr.audits[id].score < 0.9)
  .map(({ id }) => [id, lhr.audits[id].displayValue ?? lhr.audits[id].title]);
const scores = Object.values(lhr.categories).map((category) => [category.id, [100 * category.score, lost(category)]]);
console.log(JSON.stringify(Object.fromEntries(scores)));
