"""The page's scripts as one: every module once, nothing but what only people need left out."""

import re
from pathlib import Path

import pytest

from winterbourne.chat.http.endpoints import page_script
from winterbourne.chat.http.endpoints.page_document import FOLDER
from winterbourne.chat.http.endpoints.page_names import SHARED
from winterbourne.chat.http.endpoints.page_script import bundle_scripts, shortened


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> str:
    """The script before what only people need is left out."""
    monkeypatch.setattr(page_script, "shortened", lambda script: script.replace(SHARED, ""))
    return bundle_scripts(FOLDER, "kept_here", "key", "sign_in", "app")


def test_every_module_is_in_it_once_after_those_that_it_imports(written: str) -> None:
    modules = re.findall(r"const (\w+)_js = \(\(\) =>", written)
    assert sorted(modules) == sorted({path.stem for path in FOLDER.glob("*.js")})
    for name in modules:
        imported = re.findall(r'from "\./(\w+)\.js"', (FOLDER / f"{name}.js").read_text())
        assert all(modules.index(each) < modules.index(name) for each in imported)


def test_a_module_that_is_named_first_comes_first_and_only_once(tmp_path: Path) -> None:
    for name, text in (("a", 'import { b } from "./b.js";\n"a";\n'), ("b", 'export const b = "b";\n'), ("c", '"c";\n')):
        (tmp_path / f"{name}.js").write_text(text)
    assert re.findall(r'"(\w)"', bundle_scripts(tmp_path, "c", "b", "a")) == ["c", "b", "a"]


def test_every_export_of_a_module_is_one_of_its_function(written: str) -> None:
    for path in FOLDER.glob("*.js"):
        exports = re.findall(r"^export (.*)", path.read_text(), re.MULTILINE)
        names = [re.sub(r"^(async )?(function\*?|class|const|let) (\w+).*", r"\3", each) for each in exports]
        assert f"return {{ {', '.join(names)} }};\n}})" in written, path.name
    assert not re.search(r"^\s*(import|export) ", written, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "tight"),
    [
        ("const a = { b: 1, c };\n\nlet d;\n", "let a={b:1,c};let d;"),
        ("function f(a, b) {\n  return a + b;\n}\nf();\n", "function f(a,b){return a+b}f();"),
        ("const a = \"a  =  b\" + 'c , d';", "let a=\"a  =  b\"+'c , d';"),
        ('const a = `b  { ${c ? `d , ${e}` : "f ; g"} , h`;', 'let a=`b  { ${c?`d , ${e}`:"f ; g"} , h`;'),
        ("x = `a  ${b.replace(/[`{ ]/g, { c : d })} e  f` + g;", "x=`a  ${b.replace(/[`{ ]/g,{c:d})} e  f`+g;"),
        ("return /[\"'`/ ] , \\/ /.test(a) ? a / b / c : d;", "return/[\"'`/ ] , \\/ /.test(a)?a / b / c:d;"),
        ('a.split(/ , /); // why, "perhaps"\nb();', "a.split(/ , /);b();"),
        ("/** What it's for. */\nlet a = 1; // don't\n// \"\nlet b;", "let a=1;let b;"),
        ('const a = "https://a // b"; /* c */ let d;', 'let a="https://a // b";let d;'),
        ("a + +b - -c;", "a+ +b- -c;"),
        ("a\n  .b()\n  .c;", "a.b().c;"),
        ("if (a) b();\nelse if (c) {\n d();\n}\nelse e();", "if(a)b();else if(c){d()}else e();"),
        ('for (const a of ["b"]) if ("c" in a) yield* d;', 'for(let a of["b"])if("c"in a)yield*d;'),
        ("return !a && typeof b === 'c';", "return!a&&typeof b==='c';"),
        ("x = a?.b ?? (c ? .5 : -1);", "x=a?.b??(c?.5:-1);"),
        ("a.map((b) => b, async (c) => c, (d, e) => d);", "a.map(b=>b,async(c)=>c,(d,e)=>d);"),
        ("for (const [a] of b) c.const = a;\n", "for(let[a]of b)c.const=a;"),
    ],
)
def test_what_only_people_need_is_left_out(text: str, tight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_script, "shorten_names", str)
    assert shortened(text).strip() == tight


def test_every_string_template_and_regular_expression_is_seen_as_one() -> None:
    code = "".join(page_script.NO_CODE.split("".join(path.read_text() for path in FOLDER.glob("*.js")))[::2])
    assert [line for line in code.splitlines() if re.search("[\"'`\\\\]", line)] == []
