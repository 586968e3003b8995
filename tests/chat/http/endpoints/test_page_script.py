"""The page's scripts as one: every module once, nothing but what only people need left out."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from winterbourne.chat.http.endpoints import page_script
from winterbourne.chat.http.endpoints.page_document import FOLDER
from winterbourne.chat.http.endpoints.page_script import bundle_scripts, tightened

# Node has a parser within it. Of both scripts: the tokens, without the semicolons that a closing brace makes needless.
TOKENS = """
const acorn = require("internal/deps/acorn/acorn/dist/acorn");
const [one, other] = JSON.parse(require("fs").readFileSync(0, "utf8")).map((script) => {
  const tokens = Array.from(acorn.tokenizer(script, { ecmaVersion: "latest", sourceType: "module" }),
    ({ type, value }) => [type.label, value instanceof RegExp ? String(value) : value?.pattern ?? value]);
  return tokens.filter(([label], at) => label !== ";" || tokens[at + 1]?.[0] !== "}");
});
const at = one.findIndex((token, index) => JSON.stringify(token) !== JSON.stringify(other[index]));
const difference = at < 0 ? [] : [one, other].map((tokens) => tokens.slice(at - 9, at + 3));
console.log(JSON.stringify([one.length, other.length, difference]));
"""


def script() -> str:
    return bundle_scripts(FOLDER, "key", "sign_in", "app")


def test_every_module_is_in_it_once_after_those_that_it_imports() -> None:
    modules = re.findall(r"const (\w+)_js=\(\(\)=>", script())
    assert sorted(modules) == sorted({path.stem for path in FOLDER.glob("*.js")})
    for name in modules:
        imported = re.findall(r'from "\./(\w+)\.js"', (FOLDER / f"{name}.js").read_text())
        assert all(modules.index(each) < modules.index(name) for each in imported)


def test_a_module_that_is_named_first_comes_first_and_only_once(tmp_path: Path) -> None:
    for name, text in (("a", 'import { b } from "./b.js";\n'), ("b", "export const b = 1;\n"), ("c", "")):
        (tmp_path / f"{name}.js").write_text(text)
    assert re.findall(r"(\w)_js=\(", bundle_scripts(tmp_path, "c", "b", "a")) == ["c", "b", "a"]


def test_every_export_of_a_module_is_one_of_its_function() -> None:
    for path in FOLDER.glob("*.js"):
        exports = re.findall(r"^export (.*)", path.read_text(), re.MULTILINE)
        names = [re.sub(r"^(async )?(function\*?|class|const|let) (\w+).*", r"\3", each) for each in exports]
        assert f"return{{{','.join(names)}}}" in script(), path.name
    assert not re.search(r"^\s*(import|export) ", script(), re.MULTILINE)


@pytest.mark.parametrize(
    ("written", "tight"),
    [
        ("const a = { b: 1, c };\n\nlet d;\n", "const a={b:1,c};let d;"),
        ("function f(a, b) {\n  return a + b;\n}\nf();\n", "function f(a,b){return a+b}\nf();"),
        ("const a = \"a  =  b\" + 'c , d';", "const a=\"a  =  b\"+'c , d';"),
        ('const a = `b  { ${c ? `d , ${e}` : "f ; g"} , h`;', 'const a=`b  { ${c ? `d , ${e}` : "f ; g"} , h`;'),
        ("x = `a  ${b.replace(/[`{ ]/g, { c : d })} e  f` + g;", "x=`a  ${b.replace(/[`{ ]/g, { c : d })} e  f`+g;"),
        ("return /[\"'`/ ] , \\/ /.test(a) ? a / b / c : d;", "return/[\"'`/ ] , \\/ /.test(a)?a / b / c:d;"),
        ('a.split(/ , /); // why, "perhaps"\nb();', "a.split(/ , /);b();"),
        ("/** What it's for. */\nlet a = 1; // don't\n// \"\nlet b;", "let a=1;let b;"),
        ('const a = "https://a // b"; /* c */ let d;', 'const a="https://a // b";let d;'),
        ("a + +b - -c;", "a + +b - -c;"),
        ("a\n  .b()\n  .c;", "a.b().c;"),
        ("if (a) b();\nelse if (c) {\n d();\n}\nelse e();", "if(a)b();else if(c){d()}\nelse e();"),
        ('for (const a of ["b"]) if ("c" in a) yield* d;', 'for(const a of["b"])if("c"in a)yield*d;'),
        ("return !a && typeof b === 'c';", "return!a&&typeof b==='c';"),
        ("x = a?.b ?? (c ? .5 : -1);", "x=a?.b??(c?.5:-1);"),
    ],
)
def test_what_only_people_need_is_left_out(written: str, tight: str) -> None:
    assert tightened(written).strip() == tight


def test_every_string_template_and_regular_expression_is_seen_as_one() -> None:
    code = "".join(page_script.NO_CODE.split("".join(path.read_text() for path in FOLDER.glob("*.js")))[::2])
    assert [line for line in code.splitlines() if re.search("[\"'`\\\\]", line)] == []


@pytest.mark.clients
def test_it_says_the_same_as_the_modules_in_fewer_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    tight = script()
    monkeypatch.setattr(page_script, "tightened", str)
    node = ["node", "--expose-internals", "-e", TOKENS]
    told = subprocess.run(node, input=json.dumps([script(), tight]), capture_output=True, text=True, check=True).stdout
    before, after, difference = json.loads(told)
    assert difference == []
    assert before == after > 1000
    assert len(tight) < len(script()) * 0.9
