"""No known secret is in any text that leaves, however it is written and wherever it is cut."""

import json
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import redaction
from chat.messages import AssistantMessage, Image, Reasoning, SystemMessage, Text, ToolCall, ToolMessage, UserMessage
from chat.redaction import LEAST_CHARS, MASK, StreamRedactor, remember, secrets_in, secrets_in_address

KEY = "sk-harbour-42"

secrets = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=LEAST_CHARS, max_size=20)


class TestText:
    def test_is_the_same_object_where_nothing_is_secret(self) -> None:
        text = "nothing to see"
        assert redaction.text(text) is text
        remember(KEY)
        assert redaction.text(text) is text

    def test_has_a_mask_in_the_place_of_each_secret(self) -> None:
        remember(KEY, "another-one")
        assert redaction.text(f"{KEY}, another-one and {KEY}") == f"{MASK}, {MASK} and {MASK}"
        assert redaction.data(f"{KEY}, another-one".encode()) == f"{MASK}, {MASK}".encode()

    def test_of_a_secret_within_a_longer_one_nothing_is_left(self) -> None:
        remember("harbour", "harbour-key-1")
        assert redaction.text("harbour-key-1") == MASK

    @pytest.mark.parametrize("placeholder", ["x", "ollama", "none", "", None, "   x   "])
    def test_placeholders_are_no_secrets(self, placeholder: str | None) -> None:
        remember(placeholder)
        assert redaction.text(f"{placeholder} is ordinary text") == f"{placeholder} is ordinary text"

    def test_blanks_around_a_secret_are_no_part_of_it(self) -> None:
        remember(f" {KEY}\n")
        assert redaction.text(KEY) == MASK

    @given(secrets, st.text(), st.text())
    def test_is_clean_in_every_way_a_secret_is_written(self, secret: str, before: str, after: str) -> None:
        redaction.forget()
        remember(secret)
        inner = json.dumps(f"<{secret}>", ensure_ascii=False)
        for written in (
            secret,
            json.dumps([secret]),
            orjson.dumps([secret]).decode(),
            orjson.dumps([inner]).decode(),
            quote(secret),
            quote(secret, safe=""),
            quote_plus(secret),
            repr([secret]),
        ):
            assert MASK in redaction.text(before + written + after)
            assert MASK.encode() in redaction.data((before + written + after).encode("utf-8", "surrogatepass"))

    @given(secrets)
    def test_json_stays_json(self, secret: str) -> None:
        redaction.forget()
        remember(secret)
        assert orjson.loads(redaction.data(orjson.dumps({"a": f"b{secret}c"}))) == {"a": f"b{MASK}c"}

    def test_a_cut_leaves_no_half_of_a_secret(self) -> None:
        remember(KEY)
        for limit in range(30):
            assert "sk-" not in redaction.beginning(f"0123456789 {KEY} and more", limit)
            assert len(redaction.beginning(f"0123456789 {KEY} and more", limit)) <= limit

    def test_the_oldest_of_very_many_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redaction, "MOST_VALUES", 2)
        remember("first-secret")
        remember("second-secret")
        remember("third-secret")
        text = redaction.text("first-secret second-secret third-secret")
        assert text == f"first-secret {MASK} {MASK}"


class TestStreams:
    def pieces(self, *pieces: str) -> list[str]:
        stream = StreamRedactor()
        return [*map(stream.feed, pieces), stream.close()]

    def test_what_no_secret_begins_with_goes_out_at_once(self) -> None:
        remember(KEY)
        assert self.pieces("He", "llo", ", wor", "ld", ".") == ["He", "llo", ", wor", "ld", ".", ""]

    def test_a_secret_in_one_piece_is_masked(self) -> None:
        remember(KEY)
        assert self.pieces(f"It is {KEY}.") == [f"It is {MASK}.", ""]

    def test_a_secret_in_two_pieces_is_held_back_and_masked(self) -> None:
        remember(KEY)
        assert self.pieces("It is sk-har", "bour-42.") == ["It is ", f"{MASK}.", ""]

    def test_a_beginning_that_was_none_goes_out_with_the_next_piece(self) -> None:
        remember(KEY)
        assert self.pieces("It is sk-har", "dly so.") == ["It is ", "sk-hardly so.", ""]

    def test_a_beginning_at_the_end_goes_out_with_the_end(self) -> None:
        remember(KEY)
        assert self.pieces("It is sk-har") == ["It is ", "sk-har"]

    def test_after_the_end_a_new_text_begins(self) -> None:
        remember(KEY)
        stream = StreamRedactor()
        assert stream.feed("sk-har") + stream.close() == "sk-har"
        assert stream.feed("bour-42") + stream.close() == "bour-42"

    @given(st.data())
    def test_a_secret_never_goes_out_wherever_it_is_cut(self, data: st.DataObject) -> None:
        redaction.forget()
        known = data.draw(st.lists(st.text("ab-", min_size=LEAST_CHARS, max_size=12), min_size=1, max_size=3))
        remember(*known)
        whole = data.draw(st.text("ab-", max_size=10)) + data.draw(st.sampled_from(known)) + data.draw(st.text("ab-"))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        out = "".join(self.pieces(*pieces))
        assert MASK in out
        assert not any(secret in out for secret in known)

    @given(st.lists(st.text("ab-sk", max_size=4)))
    def test_a_text_without_secrets_comes_out_as_it_went_in(self, pieces: list[str]) -> None:
        redaction.forget()
        remember(KEY)
        assert "".join(self.pieces(*pieces)) == "".join(pieces)


class TestWhatIsASecret:
    @pytest.mark.parametrize(
        ("stored", "found"),
        [
            ("plain", {"plain"}),
            ("12345678", {"12345678"}),
            ('{"api_key":"a"}', {"a"}),
            ('{"alice":"a","ci":["b","c"],"pin":1}', {"a", "b", "c", "1"}),
            ('{"username":"harbour","engine":"postgres","password":"pw","port":5432}', {"pw"}),
            ('[{"name":"a","apiKey":"k"}]', {"k"}),
            ("https://user:p%40ss@host/x", {"https://user:p%40ss@host/x", "p%40ss", "p@ss"}),
            ('{"url":"mysql://u:pw@h/d"}', {"mysql://u:pw@h/d", "pw"}),
        ],
    )
    def test_in_a_stored_secret(self, stored: str, found: set[str]) -> None:
        assert set(secrets_in(stored)) == found

    @pytest.mark.parametrize(
        ("setting", "found"),
        [
            ("https://api.example.com/v1?version=2026-01-01", set()),
            ("https://user:pw@gateway.example.com/v1", {"pw"}),
            (
                "pier=https://a.example.com/mcp?apiKey=k1,quay=https://b.example.com/mcp?x=1&access_token=k2",
                {"k1", "k2"},
            ),
            ("Be kind: write to us.", set()),
        ],
    )
    def test_in_an_address(self, setting: str, found: set[str]) -> None:
        assert set(secrets_in_address(setting)) == found


def test_a_history_is_clean_and_what_a_provider_sealed_stays() -> None:
    remember(KEY)
    history = (
        SystemMessage(f"a {KEY}"),
        UserMessage((Text(f"b {KEY}"), Image("", url=f"https://x.test/?{KEY}"), Text("as it was")), "u"),
        AssistantMessage(
            (Reasoning(f"c {KEY}", KEY, KEY), ToolCall("1", "t", f'{{"d":"{KEY}"}}')), "m", incomplete=True
        ),
        ToolMessage("1", "t", f"e {KEY}", is_error=True),
    )
    assert redaction.messages(history) == (
        SystemMessage(f"a {MASK}"),
        UserMessage((Text(f"b {MASK}"), Image("", url=f"https://x.test/?{MASK}"), Text("as it was")), "u"),
        AssistantMessage(
            (Reasoning(f"c {MASK}", KEY, KEY), ToolCall("1", "t", f'{{"d":"{MASK}"}}')), "m", incomplete=True
        ),
        ToolMessage("1", "t", f"e {MASK}", is_error=True),
    )


def test_a_history_without_secrets_is_not_copied() -> None:
    remember(KEY)
    message = UserMessage((Text("hello"),), "u")
    assert redaction.message(message) is message
