"""HTTP pool: connections that the second invocation of an environment opens, counted by the server of the tools."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.bench.figure import Figure
from tests.end_to_end.native_client import chat
from tests.local_server import local_server
from tests.weather_server import weather_server

QUESTION = "the weather in Paris and Lima and Oslo"


def figures() -> Iterable[Figure]:
    """New connections in the second invocation, of one environment."""
    with weather_server() as (url, connections), tempfile.TemporaryDirectory() as folder:
        base = ("--env", f"OPEN_METEO_BASE_URL={url}", "--env", f"OPEN_METEO_GEOCODING_BASE_URL={url}")
        flags = ("--no-practice", "--concurrency", "1", "--env", "SCRIPTED_WORDS_PER_SECOND=0", *base)
        with local_server(Path(folder), *flags) as server:
            chat(server.url, QUESTION)
            first = len(connections)
            chat(server.url, QUESTION.replace("Oslo", "Bergen").replace("Paris", "Rome").replace("Lima", "Cairo"))
            new = len(connections) - first
    yield Figure(
        name="connections opened by the second invocation's tool calls",
        ours=f"{new}",
        beside=f"first invocation {first}",
        bar="0",
        met=new == 0,
    )
