"""Cases of Lambda itself: its API and function URL, deadlines, heartbeats, a function that cannot start."""

from typing import Final

from tests.recorded.cases.formats import FORMATS, question
from tests.recorded.cases.tokens import NAMES, token
from tests.recorded.exchange import ALICE, Answer, Case, Exchange, Piece, get, invoked, streamed
from tests.recorded.provider_responses import chunk, says, stream

__all__ = ["CASES"]

ORIGIN: Final = {"origin": "https://example.com"}
PREFLIGHT: Final = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
GOES: Final = chunk({"content": "It goes"})
ON: Final = stream(chunk({"content": " on."})).body
NOBODY: Final = get("/v1/models", headers={})


def case(name: str, server: str, *exchanges: Exchange) -> Case:
    return Case(group="lambda", name=name, server=server, exchanges=exchanges)


def bearing(credential: str) -> Exchange:
    return get("/v1/models", headers={"authorization": f"Bearer {credential}"})


CASES: Final = [
    *(
        Case(
            group=form,
            name="silence_is_broken_by_a_comment",
            server="beating",
            exchanges=(question(form, "Well?", Answer(pieces=(Piece(GOES, b": keep-alive"), Piece(ON)))),),
        )
        for form in FORMATS
        if form != "openai_whole"
    ),
    *(
        Case(
            group=form,
            name="deadline",
            server="hurried",
            exchanges=(question(form, "Well?", Answer(body=GOES, held=ON)),),
        )
        for form in FORMATS
    ),
    case(
        "invoked",
        "openai",
        *(invoked(question(form, "Well?", says("So."))) for form in FORMATS),
        invoked(NOBODY),
        invoked(get("/healthz", headers={})),
    ),
    case(
        "invoked_for_a_stream",
        "openai",
        *(streamed(question(form, "Well?", says("S", "o."))) for form in FORMATS),
        streamed(NOBODY),
    ),
    case(
        "function_that_cannot_start", "misset", get("/healthz", headers={}), *(of(NOBODY) for of in (invoked, streamed))
    ),
    case(
        "cross_origin",
        "cors",
        get("/chat", method="OPTIONS", headers={**ORIGIN, **PREFLIGHT}),
        get("/chat", method="OPTIONS", headers={"origin": "https://other.example", **PREFLIGHT}),
        get("/v1/models", headers={**ORIGIN, **ALICE}),
        get("/v1/models", headers=ORIGIN),
    ),
    Case(
        group="refusals",
        name="tokens",
        server="jwt",
        exchanges=(NOBODY, *(bearing(token(name)) for name in NAMES), bearing("no.token")),
    ),
    Case(group="refusals", name="keys_that_are_away", server="jwt_keyless", exchanges=(bearing(token("valid")),)),
]
