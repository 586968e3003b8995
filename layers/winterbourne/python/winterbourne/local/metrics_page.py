"""Metrics page (GET /__local/metrics): the function's metrics, live in HTML, or as JSON if the client accepts it."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

from winterbourne.local.live_page import LivePage
from winterbourne.local.metrics import Metrics

__all__ = ["MetricsPage"]

LEFT_OUT: Final = {
    "lean": "METRICS=lean: six metrics, and none by tool or model. The log has the rest.",
    "off": "METRICS=off: none is emitted. The log has what they would say.",
}
# The script inserts metrics and request lines as text, never as markup.
PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Local metrics</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); padding: .3rem .6rem; }
th, td { text-align: right; font-variant-numeric: tabular-nums; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
td:nth-child(2) { overflow-wrap: anywhere; min-width: 9rem; }
main, pre { overflow-x: auto; }
</style>
<h1>Local metrics</h1>
<p id="state" role="status">No metrics yet. Send a request, and they will appear here.</p>
<main>
<table hidden>
<thead><tr><th>Metric<th>Dimensions<th>Count<th>Average<th>Minimum<th>Maximum<th>Last<th>Sum<th>Unit</tr></thead>
<tbody></tbody>
</table>
</main>
<h2>Requests</h2>
<pre id="requests"></pre>
<script>
const digits = (number) => Math.abs(number) < 1 ? 6 : 3; // an answer costs a fraction of a cent
const show = (number) => Number(number).toLocaleString("en", { maximumFractionDigits: digits(number) });
const row = (series) => {
  const cells = [series.name, series.dimensions, show(series.count), show(series.total / series.count),
    show(series.least), show(series.most), show(series.last), show(series.total), series.unit];
  const line = document.createElement("tr");
  line.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return line;
};
const refresh = async () => {
  const state = document.getElementById("state");
  try {
    const response = await fetch("", { headers: { accept: "application/json" } });
    const { metrics, requests, left_out } = await response.json();
    document.querySelector("tbody").replaceChildren(...metrics.map(row));
    document.querySelector("table").hidden = !metrics.length;
    document.getElementById("requests").textContent = requests.join("\\n");
    const since = metrics.length && "Since the local server started; refreshed every second.";
    if (since || left_out) state.textContent = [since, left_out].filter(Boolean).join(" ");
  } catch {
    state.textContent = "The local server does not respond.";
  }
  setTimeout(refresh, 1000);
};
refresh();
</script>
</html>
"""


class MetricsPage(LivePage):
    """Serves the page.

    Args:
        metrics: The metrics to show.
        requests: The lines of the requests to show, the newest first.
    """

    def __init__(self, metrics: Metrics, requests: Iterable[str]) -> None:
        super().__init__(PAGE, self._shown)
        self._metrics, self._requests = metrics, requests

    def _shown(self) -> dict[str, object]:
        left_out, series = LEFT_OUT.get(self._metrics.mode, ""), self._metrics.series()
        return {"metrics": list(map(asdict, series)), "requests": list(self._requests), "left_out": left_out}
