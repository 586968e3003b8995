"""Credentials: the API key or bearer token of a request."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.auth.requests import request
from winterbourne.chat.auth.base import extract_credential
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.request import Request, join_headers


class TestCredential:
    @pytest.mark.parametrize(
        "headers",
        [
            {"authorization": "Bearer k"},
            {"authorization": "bearer  k "},
            {"x_api_key": "k"},
            {"authorization": "AWS4-HMAC-SHA256 Credential=a", "x_api_key": "k"},
            {"authorization": "Bearer k", "x_api_key": "other"},
        ],
    )
    def test_is_the_bearer_token_or_else_the_key_header(self, headers: dict[str, str]) -> None:
        assert extract_credential(request(**headers)) == "k"

    @pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"authorization": "Basic k"}])
    def test_a_request_without_one_is_rejected(self, headers: dict[str, str]) -> None:
        with pytest.raises(RequestRejected, match="An API key or token is needed") as rejection:
            extract_credential(request(**headers))
        assert (rejection.value.status, rejection.value.code) == (401, "unauthorized")
        assert rejection.value.headers == {"www-authenticate": 'Bearer realm="chat"'}

    @given(st.dictionaries(st.sampled_from(["authorization", "Authorization", "x-api-key"]), st.text() | st.none()))
    def test_whatever_the_headers_hold_it_is_text_or_the_request_is_rejected(self, headers: dict[str, object]) -> None:
        request = Request(method="GET", raw_path="/", headers=join_headers(headers.items()))
        if any(request.headers.values()):
            with contextlib.suppress(RequestRejected):
                assert extract_credential(request)
        else:
            with pytest.raises(RequestRejected):
                extract_credential(request)
