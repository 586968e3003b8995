"""No known secret is in any text that leaves, however it is written and wherever it is cut."""

import json
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import redaction
from chat.redaction import MASK, MIN_CHARS, StreamRedactor, register

KEY = "sk-harbour-42"

secrets = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=MIN_CHARS, max_size=20)


class TestText:
    def test_is_the_same_object_where_nothing_is_secret(self) -> None:
        text = "nothing to see"
        assert redaction.redact(text) is text
        register(KEY)
        assert redaction.redact(text) is text

    def test_has_a_mask_in_the_place_of_each_secret(self) -> None:
        register(KEY, "another-one")
        assert redaction.redact(f"{KEY}, another-one and {KEY}") == f"{MASK}, {MASK} and {MASK}"
        assert redaction.redact_bytes(f"{KEY}, another-one".encode()) == f"{MASK}, {MASK}".encode()

    def test_of_a_secret_within_a_longer_one_nothing_is_left(self) -> None:
        register("harbour", "harbour-key-1")
        assert redaction.redact("harbour-key-1") == MASK

    @pytest.mark.parametrize("placeholder", ["x", "ollama", "none", "", None, "   x   "])
    def test_placeholders_are_no_secrets(self, placeholder: str | None) -> None:
        register(placeholder)
        assert redaction.redact(f"{placeholder} is ordinary text") == f"{placeholder} is ordinary text"

    def test_blanks_around_a_secret_are_no_part_of_it(self) -> None:
        register(f" {KEY}\n")
        assert redaction.redact(KEY) == MASK

    @given(secrets, st.text(), st.text())
    def test_is_clean_in_every_way_a_secret_is_written(self, secret: str, before: str, after: str) -> None:
        redaction.clear()
        register(secret)
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
            json.dumps([secret]).replace("/", "\\/"),
            json.dumps(json.dumps([secret])),
        ):
            assert MASK in redaction.redact(before + written + after)
            assert MASK.encode() in redaction.redact_bytes((before + written + after).encode("utf-8", "surrogatepass"))

    @given(secrets)
    def test_json_stays_json(self, secret: str) -> None:
        redaction.clear()
        register(secret)
        assert orjson.loads(redaction.redact_bytes(orjson.dumps({"a": f"b{secret}c"}))) == {"a": f"b{MASK}c"}

    def test_a_cut_leaves_no_half_of_a_secret(self) -> None:
        register(KEY)
        for limit in range(30):
            assert "sk-" not in redaction.redact_start(f"0123456789 {KEY} and more", limit)
            assert len(redaction.redact_start(f"0123456789 {KEY} and more", limit)) <= limit

    def test_the_oldest_of_very_many_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redaction, "MAX_VALUES", 2)
        register("first-secret")
        register("second-secret")
        register("third-secret")
        text = redaction.redact("first-secret second-secret third-secret")
        assert text == f"first-secret {MASK} {MASK}"


class TestStreams:
    def pieces(self, *pieces: str) -> list[str]:
        stream = StreamRedactor()
        return [*map(stream.feed, pieces), stream.close()]

    def test_what_no_secret_begins_with_goes_out_at_once(self) -> None:
        register(KEY)
        assert self.pieces("He", "llo", ", wor", "ld", ".") == ["He", "llo", ", wor", "ld", ".", ""]

    def test_a_secret_in_one_piece_is_masked(self) -> None:
        register(KEY)
        assert self.pieces(f"It is {KEY}.") == [f"It is {MASK}.", ""]

    def test_a_secret_in_two_pieces_is_held_back_and_masked(self) -> None:
        register(KEY)
        assert self.pieces("It is sk-har", "bour-42.") == ["It is ", f"{MASK}.", ""]

    def test_a_beginning_that_was_none_goes_out_with_the_next_piece(self) -> None:
        register(KEY)
        assert self.pieces("It is sk-har", "dly so.") == ["It is ", "sk-hardly so.", ""]

    def test_a_beginning_at_the_end_goes_out_with_the_end(self) -> None:
        register(KEY)
        assert self.pieces("It is sk-har") == ["It is ", "sk-har"]

    def test_after_the_end_a_new_text_begins(self) -> None:
        register(KEY)
        stream = StreamRedactor()
        assert stream.feed("sk-har") + stream.close() == "sk-har"
        assert stream.feed("bour-42") + stream.close() == "bour-42"

    @given(st.data())
    def test_a_secret_never_goes_out_wherever_it_is_cut(self, data: st.DataObject) -> None:
        redaction.clear()
        known = data.draw(st.lists(st.text("ab-", min_size=MIN_CHARS, max_size=12), min_size=1, max_size=3))
        register(*known)
        whole = data.draw(st.text("ab-", max_size=10)) + data.draw(st.sampled_from(known)) + data.draw(st.text("ab-"))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        out = "".join(self.pieces(*pieces))
        assert MASK in out
        assert not any(secret in out for secret in known)

    @given(st.lists(st.text("ab-sk", max_size=4)))
    def test_a_text_without_secrets_comes_out_as_it_went_in(self, pieces: list[str]) -> None:
        redaction.clear()
        register(KEY)
        assert "".join(self.pieces(*pieces)) == "".join(pieces)


class TestManySecrets:
    """So many that they are looked for by their pieces, and not one by one."""

    @given(st.data())
    def test_each_is_found_wherever_it_stands(self, data: st.DataObject) -> None:
        redaction.clear()
        known = [f"key-{number}-of-{number * 7919 % 1000}" for number in range(200)]
        register(*known)
        key = data.draw(st.sampled_from(known))
        before, after = data.draw(st.text("ke-y0", max_size=9)), data.draw(st.text(max_size=9))
        assert MASK in redaction.redact(before + key + after)
        assert key not in redaction.redact(before + key + after)
        cut = data.draw(st.integers(0, len(key)))
        stream = StreamRedactor()
        out = stream.feed(before + key[:cut]) + stream.feed(key[cut:] + after) + stream.close()
        assert key not in out

    def test_ordinary_text_is_left_alone(self) -> None:
        register(*(f"key-{number}-of-{number * 7919 % 1000}" for number in range(200)))
        text = "the key-word of the day: " * 1000
        assert redaction.redact(text) is text
