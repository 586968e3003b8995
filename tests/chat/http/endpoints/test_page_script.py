"""The page's scripts as one: every module once, nothing but what only people need left out."""

import re
from collections import Counter
from pathlib import Path

import pytest

from winterbourne.chat.http.endpoints import page_script
from winterbourne.chat.http.endpoints.page_document import FOLDER
from winterbourne.chat.http.endpoints.page_names import ALIASED, BROWSER
from winterbourne.chat.http.endpoints.page_script import bundle_scripts, shortened

SCRIPTS = {path.stem: path.read_text() for path in FOLDER.glob("*.js")}
DECLARATION = re.compile(
    r"^(?:export )?(?:async )?(?:function\*?|class|const|let) (\w+|[\[{][^=]*(?= =))", re.MULTILINE
)


def declared(text: str) -> list[str]:
    """What a module declares outside its functions."""
    return [name for each in DECLARATION.findall(text) for name in re.findall(r"\w+(?!\w|:)", each)]


def test_every_module_is_in_it_once_after_those_that_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_script, "shortened", str)
    script = bundle_scripts(FOLDER, "kept_here", "key", "sign_in", "app")
    first_lines = {name: text.split("\n", 1)[0] for name, text in SCRIPTS.items()}
    assert {script.count(line) for line in first_lines.values()} == {1}
    for name, text in SCRIPTS.items():
        for imported in re.findall(r'from "\./(\w+)\.js"', text):
            assert script.index(first_lines[imported]) < script.index(first_lines[name])
    assert not re.search(r"^\s*(import|export) ", script, re.MULTILINE)


def test_what_modules_declare_has_a_name_that_no_other_gives_nor_the_browser() -> None:
    counts = Counter(name for text in SCRIPTS.values() for name in declared(text))
    assert len(counts) > 300
    assert [name for name, count in counts.items() if count > 1 or name in BROWSER] == []


def test_what_a_module_imports_is_exported() -> None:
    for text in SCRIPTS.values():
        for names, name in re.findall(r'^import \{ (.*) \} from "\./(\w+)\.js"', text, re.MULTILINE):
            exported = re.findall(
                r"^export (?:async )?(?:function\*?|class|const|let) (\w+)", SCRIPTS[name], re.MULTILINE
            )
            assert set(names.split(", ")) <= set(exported)


def test_a_module_that_is_named_first_comes_first_and_only_once(tmp_path: Path) -> None:
    for name, text in (("a", 'import { b } from "./b.js";\n"a";\n'), ("b", 'export const b = "b";\n'), ("c", '"c";\n')):
        (tmp_path / f"{name}.js").write_text(text)
    assert re.findall(r'"(\w)"', bundle_scripts(tmp_path, "c", "b", "a")) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("text", "tight"),
    [
        ("const a = { b: 1, c };\n\nlet d;\n", "let a={b:1,c},d;"),
        ("function f(a, b) {\n  return a + b;\n}\nf();\n", "function f(a,b){return a+b}f();"),
        ("const a = \"a  =  b\" + 'c , d';", "let a=\"a  =  b\"+'c , d';"),
        ('const a = `b  { ${c ? `d , ${e}` : "f ; g"} , h`;', 'let a=`b  { ${c?`d , ${e}`:"f ; g"} , h`;'),
        ("x = `a  ${b.replace(/[`{ ]/g, { c : d })} e  f` + g;", "x=`a  ${b.replace(/[`{ ]/g,{c:d})} e  f`+g;"),
        ("return /[\"'`/ ] , \\/ /.test(a) ? a / b / c : d;", "return/[\"'`/ ] , \\/ /.test(a)?a/b/c:d;"),
        ('a.split(/ , /); // why, "perhaps"\nb();', "a.split(/ , /);b();"),
        ("/** What it's for. */\nlet a = 1; // don't\n// \"\nlet b;", "let a=1;let b;"),
        ('const a = "https://a // b"; /* c */ let d;', 'let a="https://a // b",d;'),
        ("a + +b - -c;", "a+ +b- -c;"),
        ("f({ a, b: [1000, c / d,], }, [, e]);", "f({a,b:[1000,c/d]},[,e]);"),
        ("a\n  .b()\n  .c;", "a.b().c;"),
        ("if (a) b();\nelse if (c) {\n d();\n}\nelse e();", "if(a)b();else if(c){d()}else e();"),
        ('for (const a of ["b"]) if ("c" in a) yield* d;', 'for(let a of["b"])if("c"in a)yield*d;'),
        ("return !a && typeof b === 'c';", "return!a&&typeof b==='c';"),
        ("x = a?.b ?? (c ? .5 : -1);", "x=a?.b??(c?.5:-1);"),
        ("a.map((b) => b, async (c) => c, (d, e) => d);", "a.map(b=>b,async(c)=>c,(d,e)=>d);"),
        ("const a = 1;\nlet b;\nconst { c } = d;\nf();\nlet g;\n", "let a=1,b,{c}=d;f();let g;"),
        ("const first = 1;\nconst b = a.tablet;\n", "let first=1,b=a.tablet;"),
        ("const a = () => {\n  const b = 1;\n  let c;\n};\nlet d;\n", "let a=()=>{let b=1,c},d;"),
        ("if (a) {\n  let b = 1;\n}\nlet c;\nlet d;\n", "if(a){let b=1}let c,d;"),
        ("function f() {\n  let b;\n}\nconst letter = 1;\nletter();\n", "function f(){let b}let letter=1;letter();"),
        ("for (const [a] of b) c.const = a;\n", "for(let[a]of b)c.const=a;"),
    ],
)
def test_what_only_people_need_is_left_out(text: str, tight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_script, "shorten_names", str)
    assert shortened(text).strip() == tight


@pytest.mark.parametrize(
    "pattern",
    [
        r"\b(?:case [^:\n]+|default|^\s*\w+): \{$",  # a block after a label
        rf"(?<![\w.])(?:{'|'.join(sorted(ALIASED))}) = ",  # another value of what a variable stands for
        r"^\s*/ ",  # a line that begins with a division
        r"\S//(?!example|www)[^\n\"`]*$",  # a comment without a space before it
    ],
)
def test_what_would_come_out_as_something_else_is_not_written(pattern: str) -> None:
    found = re.compile(pattern, re.MULTILINE)
    objects = re.compile(r"^\s*\w+: \{$", re.MULTILINE)
    lines = [line for text in SCRIPTS.values() for line in text.splitlines() if found.search(line)]
    assert [line for line in lines if not objects.match(line)] == []


def test_every_string_template_and_regular_expression_is_seen_as_one() -> None:
    code = "".join(page_script.NO_CODE.split("".join(SCRIPTS.values()))[::2])
    assert [line for line in code.splitlines() if re.search("[\"'`\\\\]", line)] == []
