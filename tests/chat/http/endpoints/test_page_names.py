"""Shorter names in the page's script: only variables get them, everywhere alike, and the script stays the same."""

import json
import subprocess

import pytest
from playwright.sync_api import sync_playwright

from tests import npm, requirements
from tests.browser_page import FLAGS
from winterbourne.chat.http.endpoints import page_script
from winterbourne.chat.http.endpoints.page_document import FOLDER
from winterbourne.chat.http.endpoints.page_names import shorten_names
from winterbourne.chat.http.endpoints.page_script import bundle_scripts

SCRIPTS = ("app",)


@pytest.mark.parametrize(
    ("code", "short"),
    [
        ("const total=1;use(total)", "const a=1;use(a)"),
        ("let total;total=total+other", "let a;a=a+other"),
        ("function double(value){return value+value}", "function b(a){return a+a}"),
        ("const node=list.map((item)=>item.item)", "const b=list.map((a)=>a.item)"),
        ("const{title,size:[width]}=page;f(title,width)", "const{title:a,size:[b]}=page;f(a,b)"),
        ("const make=(title=9)=>({title,title:title,[title]:0})", "const b=(a=9)=>({title:a,title:a,[a]:0})"),
        ("const rest=f(...rest)", "const a=f(...a)"),
        (
            "class Cat extends Pet{age=3;get age(){return age}#age;static make(age){}}const age=1",
            "class b extends Pet{age=3;get age(){return a}#age;static make(a){}}const a=1",
        ),
        ("for(const [key,value] of pairs)f(value,key,value)", "for(const [b,a] of pairs)f(a,b,a)"),
        ("catch(error){log(error)}", "catch(a){log(a)}"),
        ("const abc=1,a=2;f(abc,a)", "const b=1,a=2;f(b,a)"),
    ],
)
def test_variables_are_renamed_and_properties_are_not(code: str, short: str) -> None:
    assert shorten_names(code, []) == short


@pytest.mark.parametrize(
    "code", ["if(String(document)){use()}", "document.title=title", "const open=(name)=>name;open()", "f({title:1})"]
)
def test_what_is_not_declared_or_is_the_browsers_own_keeps_its_name(code: str) -> None:
    assert shorten_names(code, []) == code


def test_what_a_template_names_keeps_its_name() -> None:
    assert shorten_names("const total=\0;f(total)", ["`${total}`"]) == "const total=\0;f(total)"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a parser of JavaScript finds of the page's script before and after."""
    folder = tmp_path_factory.mktemp("scripts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_script, "shorten_names", lambda code, _: code)
        (folder / "long.mjs").write_text(bundle_scripts(FOLDER, *SCRIPTS))
    (folder / "short.mjs").write_text(bundle_scripts(FOLDER, *SCRIPTS))
    command = ["node", "same_script.mjs", *(str(folder / name) for name in ("long.mjs", "short.mjs"))]
    done = subprocess.run(command, cwd=npm.clients(), capture_output=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.clients
class TestThePage:
    def test_its_script_is_the_same_but_for_the_names(self, compared: dict[str, list[str]]) -> None:
        assert compared["differences"] == []
        assert len(compared["replaced"]) > 300

    def test_no_name_that_is_replaced_is_the_browsers_own(self, compared: dict[str, list[str]]) -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=requirements.chromium(), args=list(FLAGS))
            own = browser.new_page().evaluate("(names) => names.filter((name) => name in window)", compared["replaced"])
            browser.close()
        assert own == []
