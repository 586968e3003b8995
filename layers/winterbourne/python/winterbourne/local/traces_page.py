"""Traces page (GET /__local/traces): each chat as a waterfall, from what the function exports to the collector here."""

from typing import Final

from winterbourne.local.http_server import BodyTooLarge, Exchange
from winterbourne.local.live_page import LivePage
from winterbourne.local.traces import Traces

__all__ = ["Collector", "TracesPage"]

MAX_BODY_BYTES: Final = 16 * 2**20

# The script inserts what is in traces as text, never as markup.
PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Local traces</title>
<link rel="icon" href="data:,">
<style>
:root {
  color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --server: #7a8699; --agent: #5b5bd6; --model: #0f8a8a; --tool: #c2730c; --failed: #c9372c;
}
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; }
section { border: 1px solid var(--line); border-radius: .6rem; margin: 1rem 0; overflow: hidden; }
h2 { font-size: 1rem; margin: 0; padding: .6rem .8rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
h2 span { font-weight: normal; font-variant-numeric: tabular-nums; opacity: .75; }
h2 .failed { color: color-mix(in srgb, var(--failed), CanvasText 25%); opacity: 1; font-weight: 600; }
h2 code { margin-left: auto; font-size: .8rem; opacity: .6; font-weight: normal; overflow-wrap: anywhere; }
details { border-top: 1px solid var(--line); }
summary {
  display: grid; grid-template-columns: minmax(9rem, 19rem) 1fr 5.5rem; gap: .8rem; align-items: center;
  padding: .2rem .8rem; cursor: pointer; list-style: none;
}
summary::-webkit-details-marker { display: none; }
summary:hover, summary:focus-visible { background: color-mix(in srgb, currentColor 6%, transparent); }
.name { padding-left: calc(var(--depth) * 1.1rem); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.name::before {
  content: ""; display: inline-block; width: .55rem; height: .55rem; border-radius: 50%; margin-right: .5rem;
  background: var(--color);
}
.track {
  position: relative; height: 1.1rem; border-radius: .2rem;
  background: repeating-linear-gradient(90deg, var(--line) 0 1px, transparent 1px 25%);
}
.bar {
  position: absolute; inset: .15rem auto .15rem var(--left); width: max(3px, var(--width)); border-radius: .2rem;
  background: var(--color);
}
.first { position: absolute; inset: 0 auto 0 var(--first); width: 2px; background: Canvas; }
.ms { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
dl { display: grid; grid-template-columns: minmax(9rem, 19rem) 1fr; gap: .1rem .8rem; margin: .2rem .8rem .6rem; }
dl { font-size: .85rem; }
dt { opacity: .7; overflow-wrap: anywhere; padding-left: 1rem; }
dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none; font-size: .85rem; }
.legend[hidden] { display: none; }
.legend li { --depth: 0; }
@media (max-width: 40rem) {
  summary { grid-template-columns: 1fr 4.5rem; row-gap: .1rem; }
  .track { grid-column: 1 / -1; order: 3; }
}
</style>
<h1>Local traces</h1>
<p id="state" role="status">No traces yet. Ask the chat something, and its trace will appear here.</p>
<ul class="legend" hidden>
<li class="name" style="--color: var(--server)">request<li class="name" style="--color: var(--agent)">answer
<li class="name" style="--color: var(--model)">model, and when its first chunk came<li class="name"
 style="--color: var(--tool)">tool, its wait included<li class="name" style="--color: var(--failed)">failed</ul>
<main></main>
<script>
const COLORS = { invoke_agent: "agent", chat: "model", execute_tool: "tool" };
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const show = (ms) => ms.toLocaleString("en", { maximumFractionDigits: ms < 100 ? 1 : 0 }) + " ms";
const text = (value) => typeof value === "string" ? value : Array.isArray(value) ? value.join(", ") : String(value);
const operation = (span) => span.attributes["gen_ai.operation.name"];
const percent = (ms, trace) => (trace.duration_ms ? 100 * ms / trace.duration_ms : 0) + "%";
const bar = (span, trace) => {
  const element = make("div", { className: "bar" });
  element.style.setProperty("--left", percent(span.start_ms, trace));
  element.style.setProperty("--width", percent(span.duration_ms, trace));
  const first = span.attributes["gen_ai.response.time_to_first_chunk"];
  if (first && span.duration_ms) {
    element.append(make("div", { className: "first" }));
    element.style.setProperty("--first", 100 * first * 1000 / span.duration_ms + "%");
  }
  return element;
};
const row = (span, trace) => {
  const cells = [make("div", { className: "name", textContent: span.name, title: span.name }),
    make("div", { className: "track" }, bar(span, trace)),
    make("div", { className: "ms", textContent: show(span.duration_ms) })];
  const attributes = Object.entries({ ...span.attributes, "service.name": span.service });
  const terms = attributes.flatMap(([name, value]) =>
    [make("dt", { textContent: name }), make("dd", { textContent: text(value) })]);
  const element = make("details", {}, make("summary", {}, ...cells), make("dl", {}, ...terms));
  const color = span.has_failed ? "failed" : COLORS[operation(span)] ?? "server";
  element.style.setProperty("--color", `var(--${color})`);
  element.style.setProperty("--depth", span.depth);
  return element;
};
const section = (trace) => {
  const answer = trace.spans.find((span) => operation(span) === "invoke_agent");
  const used = (name) => answer?.attributes[`gen_ai.usage.${name}_tokens`];
  const dollars = answer?.attributes["winterbourne.cost_usd"];
  const failed = trace.spans.find((span) => span.attributes["error.type"]);
  const facts = [new Date(trace.started_ms).toLocaleTimeString(), show(trace.duration_ms),
    used("input") && `${used("input")} tokens in, ${used("output") ?? 0} out`,
    dollars && `$${dollars.toLocaleString("en", { maximumFractionDigits: 6 })}`];
  const head = make("h2", {}, trace.spans[0].name,
    ...facts.filter(Boolean).map((fact) => make("span", { textContent: fact })));
  if (failed) {
    const textContent = `${failed.name}: ${text(failed.attributes["error.type"])}`;
    head.append(make("span", { className: "failed", textContent }));
  }
  head.append(make("code", { textContent: trace.trace_id }));
  return make("section", {}, head, ...trace.spans.map((span) => row(span, trace)));
};
const shown = new Map(); // by trace: how many spans, and its element; one that has not grown stays, open rows and all
const refresh = async () => {
  const state = document.getElementById("state");
  try {
    const response = await fetch("", { headers: { accept: "application/json" } });
    const { traces } = await response.json();
    const sections = traces.map((trace) => {
      const known = shown.get(trace.trace_id);
      if (known?.count === trace.spans.length) return known.element;
      const element = section(trace);
      shown.set(trace.trace_id, { count: trace.spans.length, element });
      return element;
    });
    const main = document.querySelector("main");
    if (sections.length !== main.children.length || sections.some((each, at) => each !== main.children[at])) {
      main.replaceChildren(...sections);
    }
    for (const id of shown.keys()) if (!traces.some((trace) => trace.trace_id === id)) shown.delete(id);
    document.querySelector(".legend").hidden = !traces.length;
    if (traces.length) state.textContent = "The newest first; a row shows its attributes. Refreshed every second.";
  } catch {
    state.textContent = "The local server does not respond.";
  }
  setTimeout(refresh, 1000);
};
refresh();
</script>
</html>
"""


class TracesPage(LivePage):
    """Serves the page of these traces."""

    def __init__(self, traces: Traces) -> None:
        super().__init__(PAGE, lambda: {"traces": traces.waterfalls()})


class Collector:
    """Takes traces as a collector does: POST /v1/traces, as OTLP in JSON.

    Args:
        traces: Where they are kept.
    """

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def handle_request(self, exchange: Exchange) -> None:
        """Take the spans of one request, or say why not."""
        status, told = 200, {}
        try:
            if not exchange.target.partition("?")[0].endswith("/v1/traces"):
                status = 404
            elif exchange.method != "POST":
                status = 405
            elif exchange.header("content-type").partition(";")[0].strip() != "application/json":
                status, told = 415, {"message": "only JSON is taken: OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}
            else:
                self._traces.ingest(await exchange.read_body(MAX_BODY_BYTES))
        except BodyTooLarge:
            status = 413
        except ValueError as error:
            status, told = 400, {"message": str(error)}
        await exchange.respond_json(status, told)
