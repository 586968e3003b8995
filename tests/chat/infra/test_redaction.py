"""Redaction: registered secrets are masked in text, JSON, log lines and streams, in any encoding and wherever cut."""

import base64
import json
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.secrets_known import forget_secrets
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.redaction import MASK, MIN_CHARS, StreamRedactor, register

KEY = "sk-harbour-42"

secrets = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=MIN_CHARS, max_size=20)


class TestRedact:
    def test_returns_the_same_object_if_nothing_is_secret(self) -> None:
        text = "nothing to see"
        assert redaction.redact(text) is text
        register(KEY)
        assert redaction.redact(text) is text

    def test_masks_each_secret(self) -> None:
        register(KEY, "another-one")
        assert redaction.redact(f"{KEY}, another-one and {KEY}") == f"{MASK}, {MASK} and {MASK}"

    def test_leaves_nothing_of_a_secret_that_contains_another(self) -> None:
        register("harbour", "harbour-key-1")
        assert redaction.redact("harbour-key-1") == MASK

    @pytest.mark.parametrize("placeholder", ["x", "ollama", "none", "", None, "   x   "])
    def test_ignores_placeholders(self, placeholder: str | None) -> None:
        register(placeholder)
        assert redaction.redact(f"{placeholder} is ordinary text") == f"{placeholder} is ordinary text"

    def test_ignores_whitespace_around_a_secret(self) -> None:
        register(f" {KEY}\n")
        assert redaction.redact(KEY) == MASK

    @given(secrets, st.text(), st.text())
    def test_masks_a_secret_in_every_encoding(self, secret: str, before: str, after: str) -> None:
        forget_secrets()
        register(secret)
        inner = json.dumps(f"<{secret}>", ensure_ascii=False)
        for encoded in (
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
            assert MASK in redaction.redact(before + encoded + after)

    def test_ignores_a_secret_that_is_a_word_of_the_mask(self) -> None:
        register("redacted")
        assert redaction.redact("It was redacted.") == "It was redacted."

    @pytest.mark.parametrize("text", [f"0123456789 {KEY} and more", f"{KEY}!" * 30, KEY * 30])
    def test_a_truncated_text_has_no_part_of_a_secret(self, text: str) -> None:
        register(KEY)
        for limit in range(120):
            start = redaction.redact_prefix(text, limit)
            assert len(start) <= limit
            assert "sk-h" not in start

    def test_the_oldest_of_too_many_secrets_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redaction, "MAX_VALUES", 2)
        register("first-secret")
        register("second-secret")
        register("third-secret")
        text = redaction.redact("first-secret second-secret third-secret")
        assert text == f"first-secret {MASK} {MASK}"


class TestEncodedForms:
    @pytest.mark.parametrize(
        "encoded",
        [
            'a/b+c "d"\\é 1',
            'a/b+c \\"d\\"\\\\é 1',
            'a/b+c \\"d\\"\\\\\\u00e9 1',
            'a\\/b+c \\"d\\"\\\\é 1',
            'a\\/b+c \\"d\\"\\\\\\u00e9 1',
            "a/b%2Bc%20%22d%22%5C%C3%A9%201",
            "a%2Fb%2Bc%20%22d%22%5C%C3%A9%201",
            "a%2fb%2bc%20%22d%22%5c%c3%a9%201",
            "a%2Fb%2Bc+%22d%22%5C%C3%A9+1",
            'a/b+c "d"\\\\\\xe9 1',
        ],
    )
    def test_of_a_secret_with_special_characters_are_masked(self, encoded: str) -> None:
        register('a/b+c "d"\\é 1')
        assert redaction.redact(f"<{encoded}>") == f"<{MASK}>"

    def test_base64_is_masked_whatever_follows_the_secret(self) -> None:
        register(KEY)
        for pair in (KEY, f"{KEY}:", f"{KEY}:x"):
            assert MASK in redaction.redact(base64.b64encode(pair.encode()).decode())

    def test_each_long_line_of_a_secret_with_several_lines_is_masked(self) -> None:
        register("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nshort\n-----END PRIVATE KEY-----")
        assert redaction.redact("MIIEvQIBADANBgkq") == MASK
        for line in ("short", "-----BEGIN PRIVATE KEY-----"):
            assert redaction.redact(line) == line


class TestJson:
    @pytest.fixture(autouse=True)
    def _register_key(self) -> None:
        register(KEY)

    def clean(self, text: str) -> str:
        return redaction.redact_json(text.encode()).decode()

    def test_without_secrets_is_returned_as_the_same_object(self) -> None:
        text = b'{"a": [1, 2]}'
        assert redaction.redact_json(text) is text

    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            (f'{{"a":["b {KEY} c"]}}', f'{{"a":["b {MASK} c"]}}'),
            (f'{{"{KEY}":1}}', f'{{"{MASK}":1}}'),
            (f'"{KEY}"', f'"{MASK}"'),
            (f'{{"a":"{{\\"b\\":\\"{KEY}\\"}}"}}', f'{{"a":"{{\\"b\\":\\"{MASK}\\"}}"}}'),
            (f"no JSON {KEY}", f"no JSON {MASK}"),
            (f'{{"cut":"{KEY}', f'{{"cut":"{MASK}'),
        ],
    )
    def test_has_no_secret_in_its_strings_and_names(self, text: str, clean: str) -> None:
        assert self.clean(text) == clean

    def test_numbers_are_not_masked_so_that_it_stays_valid(self) -> None:
        register("12345678")
        assert self.clean('{"amount":12345678,"text":"12345678"}') == f'{{"amount":12345678,"text":"{MASK}"}}'

    def test_names_that_are_plain_words_stay(self) -> None:
        register("message", "conversation_id")
        assert (
            self.clean('{"message":"a message","conversation_id":"c"}')
            == f'{{"message":"a {MASK}","conversation_id":"c"}}'
        )

    @given(
        secrets, st.recursive(st.text() | st.integers(-(2**63), 2**63 - 1), lambda inner: st.lists(inner, max_size=3))
    )
    def test_it_stays_valid_whatever_the_secret(self, secret: str, value: object) -> None:
        forget_secrets()
        register(secret)
        text = orjson.dumps({"a": [secret, value], "b": f"<{secret}>"})
        clean = orjson.loads(redaction.redact_json(text))
        assert clean["a"][0] == MASK
        assert clean["b"] == f"<{MASK}>"

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": 123456789012345678901234567890, "s": "KEY"}',
            '{"a": 1e400, "b": -0.0, "c": NaN, "s": "KEY"}',
            '{"a": 1, "a": 2, "s" : "KEY"} \n',
            '{"s": "\\ud800 KEY \\u00e9"}',
            '{"s": "é KEY"}',
            '["{\\"n\\": 12345678, \\"t\\": \\"KEY\\"}"]',
        ],
    )
    def test_everything_but_secrets_stays_character_by_character(self, text: str) -> None:
        register("12345678")
        assert self.clean(text.replace("KEY", KEY)) == text.replace("KEY", MASK)

    def test_that_is_nested_very_deep_is_redacted_as_text(self) -> None:
        assert KEY not in self.clean("[" * 900 + f'"{KEY}"' + "]" * 900)
        assert KEY not in self.clean("[" * 100_000 + KEY)

    @pytest.mark.parametrize("end", ["", "\n"])
    def test_a_log_line_stays_one_line(self, end: str) -> None:
        register("12345678")
        line = f'{{"timestamp": 12345678, "message": "with {KEY}"}}{end}'
        assert json.loads(redaction.redact_line(line)) == {"timestamp": 12345678, "message": f"with {MASK}"}
        assert redaction.redact_line(line).endswith(end or "}")
        assert redaction.redact_line(f"[ERROR] {KEY}{end}") == f"[ERROR] {MASK}{end}"


class TestStreamRedactor:
    def feed_pieces(self, *pieces: str) -> list[str]:
        stream = StreamRedactor()
        return [*map(stream.feed, pieces), stream.flush() if stream.held_back else ""]

    def test_text_that_starts_no_secret_is_passed_on_at_once(self) -> None:
        register(KEY)
        assert self.feed_pieces("He", "llo", ", wor", "ld", ".") == ["He", "llo", ", wor", "ld", ".", ""]

    def test_a_secret_in_one_piece_is_masked(self) -> None:
        register(KEY)
        assert self.feed_pieces(f"It is {KEY}.") == [f"It is {MASK}.", ""]

    def test_a_secret_in_two_pieces_is_held_back_and_masked(self) -> None:
        register(KEY)
        assert self.feed_pieces("It is sk-har", "bour-42.") == ["It is ", f"{MASK}.", ""]

    def test_a_false_start_is_passed_on_with_the_next_piece(self) -> None:
        register(KEY)
        assert self.feed_pieces("It is sk-har", "dly so.") == ["It is ", "sk-hardly so.", ""]
        assert self.feed_pieces("see sk-h", "a", "t") == ["see ", "", "sk-hat", ""]

    def test_fed_letter_by_letter_at_most_three_letters_are_passed_on(self) -> None:
        register(KEY)
        assert self.feed_pieces(*KEY, "!") == ["s", "k", "-", *[""] * 9, MASK, "!", ""]

    def test_a_flush_passes_on_a_short_start_of_a_secret_and_masks_a_long_one(self) -> None:
        register(KEY)
        assert self.feed_pieces("It is sk-harb") == ["It is ", "sk-harb"]
        assert self.feed_pieces("It is sk-harbo") == ["It is ", MASK]

    def test_a_secret_that_continues_after_a_flush_is_masked(self) -> None:
        register(KEY)
        stream = StreamRedactor()
        assert [stream.feed("It is sk-harbour"), stream.flush(), stream.feed("-42."), stream.flush()] == [
            "It is ",
            MASK,
            f"{MASK}.",
            "",
        ]
        assert stream.has_redacted

    @pytest.mark.parametrize("size", range(1, 8))
    def test_however_often_it_is_flushed_at_most_seven_letters_are_passed_on(self, size: int) -> None:
        secret = "sk-harbour-0123456789-abcdefghijklm"
        register(secret)
        stream, out = StreamRedactor(), ""
        for start in range(0, len(secret), size):
            out += stream.feed(secret[start : start + size]) + stream.flush()
        assert len(out.replace(MASK, "")) <= 7

    def test_digits_in_json_may_be_a_number(self) -> None:
        register("12345678")
        stream = StreamRedactor(in_json=True)
        assert stream.feed('{"n": 1234') + stream.feed("5678}") + stream.flush() == '{"n": 12345678}'

    def test_very_many_secrets_in_one_piece_are_masked_in_linear_time(self) -> None:
        register(KEY)
        assert StreamRedactor().feed(f"{KEY} " * 50_000) == f"{MASK} " * 50_000

    def test_a_secret_that_is_the_start_of_a_longer_one_is_held_back(self) -> None:
        register("made-up-team", "made-up-team-2-abcdef")
        assert self.feed_pieces("made-up-team", "-2-abcdef", ".") == ["", MASK, ".", ""]
        assert self.feed_pieces("made-up-team", " is ours") == ["", f"{MASK} is ours", ""]
        assert self.feed_pieces("made-up-team") == ["", MASK]

    def test_a_start_within_a_false_start_is_found(self) -> None:
        register(KEY)
        assert self.feed_pieces("sk-hsk-har", "bour-42.") == ["sk-h", f"{MASK}.", ""]

    def test_a_secret_whose_end_starts_another_is_masked(self) -> None:
        register("key-abcd", "abcd-efgh")
        assert self.feed_pieces("key-abcd", " is mine") == ["", f"{MASK} is mine", ""]

    @given(st.data())
    def test_no_secret_is_passed_on_wherever_it_is_cut(self, data: st.DataObject) -> None:
        forget_secrets()
        registered = data.draw(st.lists(st.text("ab-", min_size=MIN_CHARS, max_size=12), min_size=1, max_size=3))
        register(*registered)
        whole = (
            data.draw(st.text("ab-", max_size=10)) + data.draw(st.sampled_from(registered)) + data.draw(st.text("ab-"))
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        pauses = data.draw(st.sets(st.integers(0, len(pieces) - 1)))
        stream, out = StreamRedactor(), ""
        for number, piece in enumerate(pieces):
            out += stream.feed(piece) + (stream.flush() if number in pauses else "")
        out += stream.flush()
        assert MASK in out
        assert stream.has_redacted
        assert not any(secret in out for secret in registered)

    @given(st.lists(st.text("skh-a", max_size=4)))
    def test_text_without_secrets_is_unchanged(self, pieces: list[str]) -> None:
        forget_secrets()
        register(KEY)
        assert "".join(self.feed_pieces(*pieces)) == "".join(pieces)

    def test_its_lookbehind_is_bounded(self) -> None:
        register(KEY)
        stream = StreamRedactor()
        for _ in range(100):
            stream.feed("the tide is in ")
        assert len(stream._lookbehind) <= 2 * len(KEY)


class TestManySecrets:
    """Enough secrets that they are searched with an n-gram index instead of one by one."""

    @given(st.data())
    def test_each_is_masked_wherever_it_stands(self, data: st.DataObject) -> None:
        forget_secrets()
        registered = [f"key-{number}-of-{number * 7919 % 1000}" for number in range(200)]
        register(*registered)
        register(*(f"{secret}-long" for secret in registered))
        secret = data.draw(st.sampled_from(registered)) + data.draw(st.sampled_from(["", "-long"]))
        before, after = data.draw(st.text("ke-y0", max_size=9)), data.draw(st.text(max_size=9))
        assert MASK in redaction.redact(before + secret + after)
        clean = redaction.redact(before + secret + after)
        assert not any(each in clean for each in registered)
        assert "long" in before + after or "long" not in clean
        cut = data.draw(st.integers(0, len(secret)))
        stream = StreamRedactor()
        out = stream.feed(before + secret[:cut]) + stream.feed(secret[cut:] + after) + stream.flush()
        assert secret not in out

    def test_ordinary_text_is_unchanged(self) -> None:
        register(*(f"key-{number}-of-{number * 7919 % 1000}" for number in range(200)))
        text = "the key-word of the day: " * 1000
        assert redaction.redact(text) is text
