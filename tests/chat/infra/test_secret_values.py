"""Secret values: which parts of a setting or a stored secret are secret."""

import pytest

from winterbourne.chat.infra.secret_values import find_secrets, find_secrets_in_urls


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ("plain", {"plain"}),
        ("12345678", {"12345678"}),
        ('{"api_key":"a"}', {"a"}),
        ('{"alice":"a","ci":["b","c"],"pin":1}', {"a", "b", "c", "1"}),
        ('{"username":"harbour","engine":"postgres","password":"pw","port":5432}', {"pw"}),
        ('[{"name":"a","apiKey":"k"}]', {"k"}),
        ("https://user:p%40ss@host/x", {"https://user:p%40ss@host/x", "p%40ss", "p@ss", "dXNlcjpwQHNz"}),
        ('{"url":"mysql://u:pw@h/d"}', {"mysql://u:pw@h/d", "pw", "dTpwdw=="}),
    ],
)
def test_secrets_in_a_stored_secret_are_found(stored: str, found: set[str]) -> None:
    assert set(find_secrets(stored)) == found


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("https://api.example.com/v1?version=2026-01-01", set()),
        ("https://user:pw@gateway.example.com/v1", {"pw", "dXNlcjpwdw=="}),
        ("https://user:p@ss@gateway.example.com/v1", {"p@ss", "dXNlcjpwQHNz"}),
        ("https://0123456789abcdef@gateway.example.com/v1", {"0123456789abcdef"}),
        ("https://nora@gateway.example.com/v1", set()),
        ("https://x.example.com/?sig=s1&code=c1&design=plain", {"s1", "c1"}),
        (
            "pier=https://a.example.com/mcp?apiKey=k1,quay=https://b.example.com/mcp?x=1&access_token=k2",
            {"k1", "k2"},
        ),
        ("Be kind: write to us.", set()),
    ],
)
def test_secrets_in_a_url_are_found(setting: str, found: set[str]) -> None:
    assert set(find_secrets_in_urls(setting)) == found


def test_every_value_is_secret_if_the_names_are_those_of_callers() -> None:
    keys = '{"monkey":"a","ci-token":"b","key":["c","d"]}'
    assert set(find_secrets(keys, by_name=False)) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("name", ["key", "API_KEY", "apiKey", "clientSecret", "db-password", "tokens"])
def test_only_the_field_that_is_named_like_a_secret_is_one(name: str) -> None:
    assert list(find_secrets(f'{{"{name}":"a","user":"nora"}}')) == ["a"]


@pytest.mark.parametrize("name", ["monkey", "keyboard", "tokenizer"])
def test_a_field_with_a_similar_name_is_not_singled_out(name: str) -> None:
    assert list(find_secrets(f'{{"{name}":"a","user":"nora"}}')) == ["a", "nora"]
