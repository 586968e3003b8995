"""Routes: one endpoint per method and path."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.router import Router

ROUTES = Router(
    {
        ("GET", "/"): "page",
        ("POST", "/chat"): "chat",
        ("POST", "/chat/{id}/stop"): "stop",
        ("GET", "/conversations/{id}"): "show",
        ("DELETE", "/conversations/{id}"): "delete",
    }
)


def test_a_path_leads_to_its_endpoint() -> None:
    assert ROUTES.match("POST", "/chat") == ("chat", {})


def test_what_stands_in_a_named_place_is_handed_on() -> None:
    assert ROUTES.match("POST", "/chat/c-1/stop") == ("stop", {"id": "c-1"})


def test_it_is_handed_on_as_it_was_meant() -> None:
    assert ROUTES.match("GET", "/conversations/a%2Fb%20c%25") == ("show", {"id": "a/b c%"})


def test_head_is_answered_as_get() -> None:
    assert ROUTES.match("HEAD", "/conversations/c-1") == ("show", {"id": "c-1"})


@pytest.mark.parametrize("path", ["/nowhere", "/chat/", "/chat//stop", "//", "", "/chat/a/b/stop"])
def test_an_unknown_path_is_404(path: str) -> None:
    with pytest.raises(RequestRejected) as rejected:
        ROUTES.match("GET", path)
    assert rejected.value.status == 404


def test_a_method_that_is_not_taken_is_405_and_says_which_are() -> None:
    with pytest.raises(RequestRejected) as rejected:
        ROUTES.match("PUT", "/conversations/c-1")
    assert rejected.value.status == 405
    assert rejected.value.headers == {"allow": "DELETE, GET, HEAD"}


@given(st.text(), st.text())
def test_any_other_request_is_found_or_rejected(method: str, path: str) -> None:
    with contextlib.suppress(RequestRejected):
        assert ROUTES.match(method, path)
