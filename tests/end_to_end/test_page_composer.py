"""The composer and the questions of the chat page in a real Chromium: files, pasted texts, editing, the model."""

import base64
import json
import random
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Locator, Page, Request, ViewportSize, expect

from tests.browser_page import Visits, ask, has_ended, keep_picture, sent_body
from tests.local_server import local_server

pytestmark = [pytest.mark.slow, pytest.mark.clients]

PHONE: ViewportSize = {"width": 390, "height": 844}
LOG = "\n".join(f"{hour}:00 the gate was opened by hand" for hour in range(24))
PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + b"0" * 2000

# As browsers do it: a drop and a paste have their own lists of files.
TRANSFER = """
const transferOf = async ({ files, texts }) => {
  const data = new DataTransfer();
  for (const [name, type, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt());
    data.items.add(new File([bytes], name, { type }));
  }
  for (const [type, text] of Object.entries(texts)) data.setData(type, text);
  return data;
};
"""
PASTE = f"""async (given) => {{
  {TRANSFER}
  const options = {{ clipboardData: await transferOf(given), bubbles: true, cancelable: true }};
  return !document.activeElement.dispatchEvent(new ClipboardEvent("paste", options));
}}"""
DRAG = f"""async ({{ type, ...given }}) => {{
  {TRANSFER}
  const options = {{ dataTransfer: await transferOf(given), bubbles: true, cancelable: true }};
  return !document.querySelector("main").dispatchEvent(new DragEvent(type, options));
}}"""

# A JPEG of this size, red at its left and blue at its right, whose camera was held as the EXIF number says.
JPEG = """async ([width, height, direction]) => {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.fillStyle = "#f00";
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#00f";
  context.fillRect(width / 2, 0, width / 2, height);
  const bytes = atob(canvas.toDataURL("image/jpeg", .9).split(",")[1]);
  const head = "Exif\\0\\0II*\\0\\x08\\0\\0\\0\\x01\\0\\x12\\x01\\x03\\0\\x01\\0\\0\\0";
  const exif = `${head}${String.fromCharCode(direction)}${"\\0".repeat(7)}`;
  return btoa(bytes.slice(0, 2) + "\\xff\\xe1" + String.fromCharCode(0, exif.length + 2) + exif + bytes.slice(2));
}"""
PIXELS = """async (url) => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const { naturalWidth: width, naturalHeight: height } = image;
  const context = Object.assign(document.createElement("canvas"), { width, height })
    .getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const colour = (x, y) => [...context.getImageData(x, y, 1, 1).data];
  return { width, height, first: colour(4, 4), last: colour(width - 5, height - 5) };
}"""


def png(width: int, height: int, *, noise: bool = False) -> bytes:
    """A PNG of one half-transparent colour, or one that is transparent to the left and noise to the right."""
    half, dice = width // 2, random.Random(1)
    lines = (bytes(4 * half) + dice.randbytes(4 * (width - half)) if noise else b"Z" * 4 * width for _ in range(height))
    rows = b"".join(b"\0" + line for line in lines)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


SMALL = png(20, 10)


def file(name: str, media_type: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": media_type, "buffer": content}


def add(page: Page, *files: FilePayload) -> None:
    page.locator("#files").set_input_files(list(files))


def given(files: list[FilePayload], texts: Mapping[str, str]) -> dict[str, Any]:
    encoded = [[each["name"], each["mimeType"], base64.b64encode(each["buffer"]).decode()] for each in files]
    return {"files": encoded, "texts": texts}


def paste(page: Page, text: str = "", *files: FilePayload, **texts: str) -> bool:
    """Paste into the composer; whether the page took it itself."""
    return bool(page.evaluate(PASTE, given([*files], {"text/plain": text, **texts} if text else texts)))


def question_box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Your question")


def attached(page: Page) -> Locator:
    return page.get_by_role("form", name="Ask").get_by_role("list", name="Files").get_by_role("listitem")


def send(page: Page) -> list[dict[str, Any]]:
    """Send what is in the composer; the content of the message that is sent."""
    with page.expect_request(is_question) as sent:
        page.get_by_role("button", name="Send").click()
    [message] = sent_body(sent.value)["messages"]
    return list(message["content"])


def is_question(request: Request) -> bool:
    return request.method == "POST" and request.url.endswith("/chat")


def shown_data(part: Mapping[str, str]) -> str:
    return f"data:{part['media_type']};base64,{part['data']}"


def limit(page: Page, **config: Any) -> None:
    """Load the page again as one of another deployment."""
    told = page.evaluate("JSON.parse(document.getElementById('config').textContent)")
    changed = json.dumps({**told, **{name: {**told[name], **values} for name, values in config.items()}})

    def serve(route: Any) -> None:
        html = route.fetch().text()
        pattern = r'(<script type="application/json" id=config>).*?(</script>)'
        safe = changed.replace("<", "\\u003c")
        route.fulfill(body=re.sub(pattern, lambda found: found[1] + safe + found[2], html), content_type="text/html")

    page.route(re.compile("/$"), serve)
    page.reload()


class TestPastedTexts:
    def test_a_long_one_becomes_a_chip_and_is_sent_as_a_text_of_its_own(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        question_box(page).fill("What happened at noon?")
        assert paste(page, LOG)
        expect(attached(page)).to_have_text(["0:00 the gate was opened by handPasted text · 1 kB"])
        expect(question_box(page)).to_have_value("What happened at noon?")
        words, pasted = send(page)
        assert words == {"type": "text", "text": "What happened at noon?"}
        assert pasted["text"].strip() == LOG
        assert pasted["text"].startswith("\n"), "models read both as one text"
        expect(attached(page)).to_have_count(0)

    @pytest.mark.parametrize("text", ["a" * 2000, "a\n" * 19 + "a", "one line"])
    def test_a_short_one_is_pasted_as_ever(self, visits: Visits, chat: str, text: str) -> None:
        page = visits.open(chat)
        assert not paste(page, text)
        expect(attached(page)).to_have_count(0)

    @pytest.mark.parametrize("text", ["a" * 2001, "a\n" * 20 + "a"])
    def test_two_thousand_letters_or_twenty_lines_are_the_most_that_is_not_folded(
        self, visits: Visits, chat: str, text: str
    ) -> None:
        page = visits.open(chat)
        assert paste(page, text)
        expect(attached(page)).to_have_count(1)

    def test_its_chip_opens_to_read_and_can_be_removed(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        paste(page, LOG)
        attached(page).get_by_role("button", name="0:00 the gate").first.click()
        reader = page.get_by_role("dialog")
        expect(reader).to_contain_text("23:00 the gate was opened by hand")
        expect(reader.get_by_role("button", name="Close")).to_be_focused()
        page.keyboard.press("Escape")
        expect(reader).to_have_count(0)
        page.get_by_role("button", name="Remove 0:00 the gate was opened by hand").click()
        expect(attached(page)).to_have_count(0)
        expect(question_box(page)).to_be_focused()

    def test_one_that_is_too_long_to_be_sent_is_refused_at_once(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        limit(page, limits={"chars": 3000})
        question_box(page).focus()
        paste(page, "a" * 2900)
        paste(page, "b" * 2900)
        expect(page.get_by_role("alert")).to_contain_text("At most 3 kB can be sent at once.")
        expect(attached(page)).to_have_count(1)


class TestFiles:
    def test_pictures_and_documents_are_sent_with_the_question_in_their_order(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, file("beach.png", "image/png", SMALL), file("tides.pdf", "application/pdf", PDF))
        add(page, file("notes.md", "", b"# Notes"), file("pump.ini", "application/x-setup", b"on=1"))
        expect(attached(page)).to_have_text(
            ["beach.pngPNG · 1 kB", "tides.pdfPDF · 2 kB", "notes.mdMD · 1 kB", "pump.iniINI · 1 kB"]
        )
        image = attached(page).first.locator("img")
        assert image.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 20
        question_box(page).fill("What do these say?")
        picture, tides, notes, pump, words = send(page)
        assert picture["type"] == "image"
        assert base64.b64decode(picture["data"]) == SMALL
        assert (tides["type"], tides["media_type"], tides["name"]) == ("document", "application/pdf", "tides.pdf")
        assert base64.b64decode(tides["data"]) == PDF
        assert (notes["media_type"], pump["media_type"]) == ("text/markdown", "text/plain")
        assert words == {"type": "text", "text": "What do these say?"}
        expect(has_ended(page.locator(".answer"))).to_contain_text("tides.pdf, notes.md, pump.ini")

    def test_they_are_shown_with_the_question_also_when_it_is_loaded_again(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, file("beach.png", "image/png", SMALL), file("tides.pdf", "application/pdf", PDF))
        question_box(page).fill("And these?")
        paste(page, LOG)
        expect(attached(page)).to_have_count(3)
        send(page)
        question = page.locator(".question")
        for name in ("beach.png", "Picture"):  # a picture's name is not kept
            has_ended(page.locator(".answer"))
            chips = question.get_by_role("listitem")
            expect(chips).to_have_text(
                [f"{name}PNG · 1 kB", "tides.pdfPDF · 2 kB", "0:00 the gate was opened by handPasted text · 1 kB"]
            )
            expect(question.get_by_role("heading")).to_have_text("And these?")
            chips.first.get_by_role("button").click()
            expect(page.get_by_role("dialog", name=name).locator("img")).to_be_visible()
            page.get_by_role("button", name="Close").click()
            page.reload()

    def test_a_question_may_be_nothing_but_files(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, file("tides.pdf", "application/pdf", PDF))
        expect(attached(page)).to_have_count(1)
        [part] = send(page)
        assert part["type"] == "document"
        has_ended(page.locator(".answer"))
        expect(page.locator(".question").get_by_role("listitem")).to_have_text(["tides.pdfPDF · 2 kB"])
        expect(page.locator(".question h2")).to_have_count(0)

    def test_they_can_be_dropped_anywhere(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        dropped = given([file("beach.png", "image/png", SMALL), file("tides.pdf", "application/pdf", PDF)], {})
        assert page.evaluate(DRAG, {"type": "dragover", **dropped})
        expect(page.locator(".composer")).to_have_class(re.compile("is-target"))
        assert page.evaluate(DRAG, {"type": "drop", **dropped})
        expect(page.locator(".composer")).not_to_have_class(re.compile("is-target"))
        expect(attached(page)).to_have_count(2)
        assert not page.evaluate(DRAG, {"type": "drop", **given([], {"text/plain": "words"})}), "the browser's own"

    def test_they_can_be_pasted_but_not_in_place_of_a_table(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        picture = file("image.png", "image/png", SMALL)
        assert paste(page, "", picture, **{"text/html": "<img>"})
        expect(attached(page)).to_have_count(1)
        assert paste(page, "image.png", picture), "a file that was copied comes with its name"
        expect(attached(page)).to_have_count(2)
        assert not paste(page, "1\t2", picture, **{"text/html": "<table>"})

    def test_the_button_opens_the_choice_of_files(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        with page.expect_file_chooser() as chosen:
            page.get_by_role("button", name="Add files").click()
        assert chosen.value.is_multiple()
        chosen.value.set_files([file("a.png", "image/png", SMALL)])
        expect(attached(page)).to_have_count(1)
        expect(page.locator("#files")).to_have_value("")  # so that the same one can be chosen once more

    def test_what_is_sent_while_a_file_is_still_read_has_the_file(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.evaluate("""() => {
          const { arrayBuffer } = File.prototype;
          File.prototype.arrayBuffer = async function () {
            await new Promise((resolve) => { window.goOn = resolve; });
            return arrayBuffer.call(this);
          };
        }""")
        question_box(page).fill("Well?")
        add(page, file("tides.pdf", "application/pdf", PDF))
        page.keyboard.press("Enter")
        with page.expect_request(is_question) as sent:
            page.evaluate("goOn()")
        [message] = sent_body(sent.value)["messages"]
        assert [part["type"] for part in message["content"]] == ["document", "text"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("refused", "said"),
        [
            (file("film.mov", "video/quicktime", b"\0\xff"), "Files like film.mov cannot be sent here."),
            (file("old.txt", "text/plain", b"caf\xe9"), "Files like old.txt cannot be sent here."),
            (file("none.txt", "text/plain", b""), "This file is empty or cannot be read: none.txt"),
            (file("broken.png", "image/png", b"PNG"), "This file is empty or cannot be read: broken.png"),
            (file("book.txt", "text/plain", b"a" * 1_100_000), re.compile("^Too large: book.txt. At most 1 MB can")),
            (file("book.pdf", "application/pdf", PDF * 450), re.compile("^Too large: book.pdf. At most 776 kB can")),
        ],
    )
    def test_what_cannot_be_sent_is_refused_at_once_in_words(
        self, visits: Visits, chat: str, refused: FilePayload, said: str | re.Pattern[str]
    ) -> None:
        page = visits.open(chat)
        add(page, refused, file("notes.md", "", b"# Notes"))
        expect(page.get_by_role("alert")).to_have_text(said)
        expect(attached(page)).to_have_text(["notes.mdMD · 1 kB"])

    def test_each_of_several_is_named(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, *(file(name, "", b"\0") for name in ("a.bin", "b.bin")))
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("a.bin cannot be sent here.")
        expect(alert).to_contain_text("b.bin cannot be sent here.")
        add(page, file("notes.md", "", b"# Notes"))
        expect(alert).to_be_empty()

    def test_there_are_as_many_as_the_chat_takes(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        limit(page, limits={"documents": 1, "images": 2})
        picture, document = file("a.png", "image/png", SMALL), file("tides.pdf", "application/pdf", PDF)
        add(page, picture, document, picture)
        expect(attached(page)).to_have_count(3)
        for one_more, said in ((picture, "2 pictures"), (document, "1 document")):
            add(page, one_more)
            expect(page.get_by_role("alert")).to_have_text(f"At most {said} can be sent at once.")
        expect(attached(page)).to_have_count(3)

    def test_what_the_model_does_not_take_is_refused(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        limit(page, takes={"images": False, "documents": ["text/plain"], "documentBytes": 0})
        add(page, file("a.png", "image/png", SMALL))
        expect(page.get_by_role("alert")).to_have_text("Files like a.png cannot be sent here.")
        add(page, file("tides.pdf", "application/pdf", PDF))
        expect(page.get_by_role("alert")).to_have_text("Files like tides.pdf cannot be sent here.")

    def test_a_document_has_a_limit_of_its_own_and_a_text_has_not(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        limit(page, takes={"documentBytes": 1000})
        add(page, file("tides.pdf", "application/pdf", PDF), file("long.txt", "text/plain", b"a" * 2000))
        expect(page.get_by_role("alert")).to_have_text("Too large: tides.pdf. At most 1 kB can be sent at once.")
        expect(attached(page)).to_have_text(["long.txtTXT · 2 kB"])

    def test_a_question_that_was_refused_comes_back_with_its_files(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True)
        parts = [
            {"type": "image", "media_type": "image/png", "data": base64.b64encode(SMALL).decode()},
            {"type": "text", "text": "What is this?"},
            {"type": "text", "text": f"\n\n{LOG}"},
        ]
        # The page's scripts are in it already: as modules they would listen to the same form.
        page.evaluate("document.querySelector('form').replaceWith(document.querySelector('form').cloneNode(true))")
        question_box(page).fill("And then?")
        page.evaluate(
            """async (content) => {
              const { composer } = await import("/modules/composer.js");
              composer.restore({ id: "u_1", content }, "No.");
              composer.onSubmit = (message) => { window.sent = message; return true; };
            }""",
            parts,
        )
        expect(page.get_by_role("alert")).to_have_text("No.")
        expect(question_box(page)).to_have_value("What is this?\n\nAnd then?")
        expect(attached(page)).to_have_count(2)
        page.get_by_role("button", name="Send").click()
        page.wait_for_function("window.sent")
        assert page.evaluate("sent") == {
            "role": "user",
            "id": "u_1",
            "content": [parts[0], {"type": "text", "text": "What is this?\n\nAnd then?"}, parts[2]],
        }


class TestPhotos:
    @pytest.mark.parametrize(
        ("direction", "size", "first_is_red"), [(1, (1568, 784), True), (3, (1568, 784), False), (6, (784, 1568), True)]
    )
    def test_a_large_one_becomes_smaller_and_stands_as_its_camera_was_held(
        self, visits: Visits, chat: str, direction: int, size: tuple[int, int], *, first_is_red: bool
    ) -> None:
        page = visits.open(chat)
        photo = base64.b64decode(page.evaluate(JPEG, [2400, 1200, direction]))
        add(page, file("photo.jpg", "image/jpeg", photo))
        expect(attached(page)).to_have_count(1)
        [part] = send(page)
        assert b"Exif" not in base64.b64decode(part["data"])
        seen = page.evaluate(PIXELS, shown_data(part))
        assert (seen["width"], seen["height"]) == size
        assert (seen["first"][0] > 200, seen["last"][2] > 200) == (first_is_red, first_is_red)

    def test_a_small_one_loses_where_it_was_taken_too(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, file("photo.jpg", "image/jpeg", base64.b64decode(page.evaluate(JPEG, [200, 100, 6]))))
        expect(attached(page)).to_have_count(1)
        [part] = send(page)
        assert b"Exif" not in base64.b64decode(part["data"])
        seen = page.evaluate(PIXELS, shown_data(part))
        assert (seen["width"], seen["height"]) == (100, 200)

    def test_what_is_no_drawing_to_be_sent_whole_becomes_a_jpeg_on_white(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, file("noise.png", "image/png", png(1400, 700, noise=True)))
        expect(attached(page)).to_have_count(1)
        [part] = send(page)
        assert part["media_type"] == "image/jpeg"
        assert page.evaluate(PIXELS, shown_data(part))["first"] == [255, 255, 255, 255]

    def test_a_large_drawing_stays_transparent(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, file("drawing.png", "image/png", png(2000, 500)))
        expect(attached(page)).to_have_count(1)
        [part] = send(page)
        assert part["media_type"] == "image/png"
        seen = page.evaluate(PIXELS, shown_data(part))
        assert (seen["width"], seen["height"]) == (1568, 392)
        assert 80 < seen["first"][3] < 100


class TestQuestions:
    def test_a_question_stands_to_the_right_on_a_colour_of_its_own(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = has_ended(ask(page, "Hello"))
        bubble, words = page.locator(".question h2").bounding_box(), answer.bounding_box()
        assert bubble
        assert words
        assert bubble["x"] > words["x"] + words["width"] / 2
        assert bubble["x"] + bubble["width"] == pytest.approx(words["x"] + words["width"], abs=1)
        assert page.locator(".question h2").evaluate("(node) => getComputedStyle(node).backgroundColor") != (
            page.locator("body").evaluate("(node) => getComputedStyle(node).backgroundColor")
        )

    def test_a_long_one_is_folded_until_somebody_wants_to_read_it(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, reduced_motion="reduce")
        answer = has_ended(ask(page, "Say hello. " + "It can be a long one. " * 40))
        heading = page.locator(".question").get_by_role("heading")
        folded = heading.bounding_box()
        button = page.get_by_role("button", name="Show all")
        expect(button).to_have_attribute("aria-expanded", "false")
        keep_picture(page, "question-folded")
        button.click()
        expect(page.get_by_role("button", name="Show less")).to_have_attribute("aria-expanded", "true")
        opened = heading.bounding_box()
        assert folded
        assert opened
        assert folded["height"] < 260 < opened["height"]
        expect(answer).to_be_attached()

    def test_a_short_one_has_nothing_to_unfold(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Hello"))
        expect(page.get_by_role("button", name="Show all")).to_have_count(0)

    def test_its_words_can_be_copied(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, permissions=["clipboard-read", "clipboard-write"])
        has_ended(ask(page, "Hello <b>there</b>"))
        page.locator(".question").hover()
        page.get_by_role("button", name="Copy question").click()
        expect(page.locator(".question")).to_contain_text("Copied")
        page.get_by_role("button", name="Copy question").click()
        expect(page.locator(".question")).not_to_contain_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "Hello <b>there</b>"

    def test_what_can_be_done_with_it_is_shown_on_hover_on_focus_and_on_touch(self, visits: Visits, chat: str) -> None:
        shown = "(button) => getComputedStyle(button).opacity"
        page = visits.open(chat)
        has_ended(ask(page, "Hello"))
        edit = page.get_by_role("button", name="Edit question")
        assert edit.evaluate(shown) == "0"
        page.locator(".question").hover()
        expect(edit).to_have_css("opacity", "1")
        page.mouse.move(2, 2)
        expect(edit).to_have_css("opacity", "0")
        edit.focus()
        expect(edit).to_have_css("opacity", "1")
        page = visits.open(chat, viewport=PHONE, has_touch=True, is_mobile=True)
        has_ended(ask(page, "Hello"))
        box = page.get_by_role("button", name="Edit question").bounding_box()
        expect(page.get_by_role("button", name="Edit question")).to_have_css("opacity", "1")
        assert box
        assert min(box["width"], box["height"]) >= 24


class TestEditing:
    def test_an_edited_question_is_sent_under_its_id_with_its_files(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, file("tides.pdf", "application/pdf", PDF))
        expect(attached(page)).to_have_count(1)
        question_box(page).fill("Hello")
        with page.expect_request(is_question) as first:
            page.keyboard.press("Enter")
        has_ended(page.locator(".answer"))
        page.get_by_role("button", name="Edit question").click()
        expect(question_box(page)).to_be_focused()
        expect(question_box(page)).to_have_value("Hello")
        expect(question_box(page)).to_have_accessible_description(
            "Editing an earlier question. What follows it will be replaced."
        )
        expect(attached(page)).to_have_text(["tides.pdfPDF · 2 kB"])
        keep_picture(page, "editing")
        question_box(page).fill("Hello again")
        with page.expect_request(is_question) as second:
            page.keyboard.press("Enter")
        before, after = (sent_body(each.value)["messages"][-1] for each in (first, second))
        assert after["id"] == before["id"]
        assert after["content"] == [before["content"][0], {"type": "text", "text": "Hello again"}]
        expect(page.get_by_text("Editing an earlier question.")).to_be_hidden()

    @pytest.mark.parametrize("leave", ["Cancel", "Escape"])
    def test_what_was_being_written_comes_back_when_it_is_over(self, visits: Visits, chat: str, leave: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Hello"))
        question_box(page).fill("Half a thou")
        add(page, file("tides.pdf", "application/pdf", PDF))
        expect(attached(page)).to_have_count(1)
        page.get_by_role("button", name="Edit question").click()
        expect(question_box(page)).to_have_value("Hello")
        expect(attached(page)).to_have_count(0)
        if leave == "Escape":
            page.keyboard.press("Escape")
        else:
            page.get_by_role("button", name="Cancel").click()
        expect(question_box(page)).to_have_value("Half a thou")
        expect(question_box(page)).to_be_focused()
        expect(attached(page)).to_have_count(1)
        expect(page.get_by_text("Editing an earlier question.")).to_be_hidden()

    def test_escape_that_ends_it_does_not_stop_an_answer(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = ask(page, "Count to 300")
        expect(answer).to_contain_text("1 2 3")
        page.get_by_role("button", name="Edit question").click()
        page.keyboard.press("Escape")
        expect(page.get_by_text("Editing an earlier question.")).to_be_hidden()
        has_ended(answer)

    def test_after_it_was_sent_too(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Hello"))
        question_box(page).fill("Half a thou")
        page.get_by_role("button", name="Edit question").click()
        ask(page, "Hello again")
        expect(question_box(page)).to_have_value("Half a thou")


@pytest.fixture(scope="module")
def choosing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chat that offers three models."""
    flags = ("--env", "MODEL_ID=chalk", "--env", "MODEL_CHOICES=flint,a-model-whose-name-is-longer-than-its-place")
    with local_server(tmp_path_factory.mktemp("choosing"), "--env", "SCRIPTED_WORDS_PER_SECOND=0", *flags) as server:
        yield server.url


class TestModel:
    def test_the_model_that_was_chosen_is_asked_and_remembered(self, visits: Visits, choosing: str) -> None:
        page = visits.open(choosing)
        choice = page.get_by_role("combobox", name="Model")
        expect(choice).to_have_value("chalk")
        choice.select_option("flint")
        page.reload()
        expect(choice).to_have_value("flint")
        with page.expect_request(is_question) as sent:
            has_ended(ask(page, "Hello"))
        assert sent_body(sent.value)["model"] == "flint"

    def test_one_that_is_no_longer_offered_is_forgotten(self, visits: Visits, choosing: str) -> None:
        page = visits.open(choosing)
        page.evaluate("localStorage.setItem('winterbourne.model', 'clay')")
        page.reload()
        expect(page.get_by_role("combobox", name="Model")).to_have_value("chalk")

    def test_where_there_is_no_choice_there_is_none(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        expect(question_box(page)).to_be_visible()
        expect(page.get_by_role("combobox")).to_have_count(0)

    def test_all_of_it_fits_a_phone(self, visits: Visits, choosing: str) -> None:
        page = visits.open(choosing, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
        page.get_by_role("combobox").select_option("a-model-whose-name-is-longer-than-its-place")
        name = "a-name-of-a-file-that-is-longer-than-the-phone-is-wide-and-goes-on.pdf"
        add(page, *[file(name, "application/pdf", PDF)] * 2, file("a.png", "image/png", SMALL))
        expect(attached(page)).to_have_count(3)
        keep_picture(page, "phone-files")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        send(page)
        has_ended(page.locator(".answer"))
        assert page.evaluate("document.documentElement.scrollWidth") == 320


class TestWhatIsWritten:
    def test_a_suggestion_takes_nothing_of_it(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        box = page.get_by_role("textbox", name="Your question")
        box.fill("Half a question")
        page.get_by_role("button", name="Count to 200").click()
        expect(page.locator(".question")).to_have_text("Count to 200")
        expect(box).to_have_value("Half a question")

    def test_nor_the_files(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        add(page, file("tides.pdf", "application/pdf", PDF))
        expect(attached(page)).to_have_count(1)
        with page.expect_request(is_question) as sent:
            page.get_by_role("button", name="Count to 200").click()
        assert [part["type"] for part in sent_body(sent.value)["messages"][0]["content"]] == ["text"]
        expect(attached(page)).to_have_count(1)

    def test_all_of_it_is_seen_also_when_a_phone_is_turned(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport={"width": 844, "height": 390})
        box = question_box(page)
        box.fill("What do these two have in common, and which is older?")
        page.set_viewport_size(PHONE)
        page.wait_for_function("() => question.clientHeight > 40 && question.scrollHeight === question.clientHeight")

    def test_a_browser_that_lets_no_page_keep_anything_can_ask(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.add_init_script("""for (const name of ["sessionStorage", "localStorage"]) {
          Object.defineProperty(window, name, { configurable: true, get() { throw new DOMException("No."); } });
        }""")
        page.reload()
        expect(has_ended(ask(page, "Count to 3"))).to_contain_text("1 2 3")
