"""CORS of a function URL: which requests are preflights, and the headers of preflight and other responses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.local.cors import Cors

HERE = {"origin": "https://here.example"}
PREFLIGHT = {**HERE, "access-control-request-method": "POST"}
CONFIGURED = Cors(
    allow_origins=("https://here.example",),
    allow_methods=("GET", "POST"),
    allow_headers=("content-type", "authorization"),
    expose_headers=("x-amzn-requestid",),
    max_age=300,
)


class TestAPreflight:
    def test_is_handled_by_the_url_if_cors_is_configured(self) -> None:
        assert CONFIGURED.handles_preflight("OPTIONS", PREFLIGHT)

    def test_is_handled_by_the_function_otherwise(self) -> None:
        assert not Cors().handles_preflight("OPTIONS", PREFLIGHT)

    @pytest.mark.parametrize(("method", "headers"), [("OPTIONS", HERE), ("POST", PREFLIGHT), ("OPTIONS", {})])
    def test_needs_method_options_an_origin_and_a_requested_method(self, method: str, headers: dict[str, str]) -> None:
        assert not CONFIGURED.handles_preflight(method, headers)

    def test_is_answered_with_the_configured_values(self) -> None:
        assert dict(CONFIGURED.preflight_headers(PREFLIGHT)) == {
            "access-control-allow-origin": "https://here.example",
            "access-control-allow-methods": "GET,POST",
            "access-control-allow-headers": "content-type,authorization",
            "access-control-max-age": "300",
            "vary": "Origin",
        }

    def test_from_another_origin_gets_no_headers(self) -> None:
        assert CONFIGURED.preflight_headers({**PREFLIGHT, "origin": "https://elsewhere.example"}) == []

    def test_for_another_method_gets_no_headers(self) -> None:
        assert CONFIGURED.preflight_headers({**PREFLIGHT, "access-control-request-method": "PUT"}) == []


class TestAnyOtherResponse:
    def test_gets_the_origin_and_the_exposed_headers(self) -> None:
        assert CONFIGURED.response_headers(HERE) == [
            ("access-control-allow-origin", "https://here.example"),
            ("vary", "Origin"),
            ("access-control-expose-headers", "x-amzn-requestid"),
        ]

    def test_gets_nothing_without_an_origin_or_from_another_one(self) -> None:
        assert CONFIGURED.response_headers({}) == []
        assert CONFIGURED.response_headers({"origin": "https://elsewhere.example"}) == []


class TestEveryOrigin:
    def test_is_a_star(self) -> None:
        assert Cors(allow_origins=("*",)).response_headers(HERE) == [("access-control-allow-origin", "*")]

    def test_is_named_if_credentials_are_allowed_since_browsers_then_reject_a_star(self) -> None:
        added = dict(Cors(allow_origins=("*",), allow_credentials=True).response_headers(HERE))
        assert added["access-control-allow-origin"] == "https://here.example"
        assert added["access-control-allow-credentials"] == "true"


@given(st.text(min_size=1), st.frozensets(st.text(min_size=1), max_size=3))
def test_an_origin_is_allowed_only_if_it_is_listed(origin: str, listed: frozenset[str]) -> None:
    added = Cors(allow_origins=tuple(listed)).response_headers({"origin": origin})
    assert bool(added) == (origin in listed or "*" in listed)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        *[(name, True) for name in ("http://localhost", "http://localhost:5173", "https://localhost:1")],
        *[(name, True) for name in ("http://127.0.0.1:3001", "http://[::1]:8080", "http://app.localhost:3000")],
        *[(name, False) for name in ("http://localhost.evil.example", "http://evil.example", "null", "")],
        *[(name, False) for name in ("http://xlocalhost", "http://localhost:1.evil", "file://localhost")],
    ],
)
def test_local_origins_are_allowed_on_any_port_if_that_is_asked_for(origin: str, *, allowed: bool) -> None:
    cors = Cors(allow_local_origins=True, allow_methods=("POST",))
    headers = {"origin": origin, "access-control-request-method": "POST"}
    assert dict(cors.preflight_headers(headers)).get("access-control-allow-origin", "") == (origin if allowed else "")
    assert Cors(allow_origins=("https://a.example",)).response_headers(headers) == []
