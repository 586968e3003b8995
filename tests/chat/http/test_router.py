"""Router: finds the endpoint for a method and path, and the path parameters."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.router import Router

ROUTER = Router(
    {
        ("GET", "/"): "page",
        ("POST", "/chat"): "chat",
        ("POST", "/chat/{id}/stop"): "stop",
        ("GET", "/conversations/{id}"): "show",
        ("DELETE", "/conversations/{id}"): "delete",
        ("GET", "/models/{id+}"): "model",
    }
)


def test_a_path_leads_to_its_endpoint() -> None:
    assert ROUTER.match("POST", "/chat") == ("chat", {})


def test_a_path_parameter_is_extracted() -> None:
    assert ROUTER.match("POST", "/chat/c-1/stop") == ("stop", {"id": "c-1"})


def test_a_path_parameter_is_percent_decoded() -> None:
    assert ROUTER.match("GET", "/conversations/a%2Fb%20c%25") == ("show", {"id": "a/b c%"})


@pytest.mark.parametrize("path", ["/models/a/b%20c", "/models/a%2Fb%20c"])
def test_a_parameter_with_a_plus_is_the_rest_of_the_path(path: str) -> None:
    assert ROUTER.match("GET", path) == ("model", {"id": "a/b c"})


def test_head_is_routed_as_get() -> None:
    assert ROUTER.match("HEAD", "/conversations/c-1") == ("show", {"id": "c-1"})


@pytest.mark.parametrize("path", ["/nowhere", "/chat/", "/chat//stop", "//", "", "/chat/a/b/stop", "/models/"])
def test_an_unknown_path_is_404(path: str) -> None:
    with pytest.raises(RequestRejected) as rejected:
        ROUTER.match("GET", path)
    assert rejected.value.status == 404


def test_an_unsupported_method_is_405_and_lists_the_supported_ones() -> None:
    with pytest.raises(RequestRejected) as rejected:
        ROUTER.match("PUT", "/conversations/c-1")
    assert rejected.value.status == 405
    assert rejected.value.headers == {"allow": "DELETE, GET, HEAD"}


@given(st.text(), st.text())
def test_any_other_request_is_routed_or_rejected(method: str, path: str) -> None:
    with contextlib.suppress(RequestRejected):
        assert ROUTER.match(method, path)
