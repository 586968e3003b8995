"""The page's scripts as they are served: they say the same as the modules, and leave the browser's names alone."""

import json
import subprocess
from typing import Any

import pytest
from playwright.sync_api import Browser

from winterbourne.chat.http.endpoints import page_script
from winterbourne.chat.http.endpoints.page_document import FOLDER
from winterbourne.chat.http.endpoints.page_names import ALIASED
from winterbourne.chat.http.endpoints.page_script import bundle_scripts

pytestmark = [pytest.mark.slow, pytest.mark.clients]

SCRIPTS = ("kept_here", "key", "sign_in", "app")

# Node has a parser within it. Both scripts are walked side by side: all must be equal but the names of variables, each
# of which must have one other name everywhere.
COMPARE = """
const acorn = require("internal/deps/acorn/acorn/dist/acorn");
const parse = (script) => acorn.parse(script, { ecmaVersion: "latest", sourceType: "module" });
const [names, back, differences] = [new Map(), new Map(), []];
const IGNORED = new Set(["start", "end", "shorthand", "raw", "range", "loc"]);

function rename(one, other) {
  if ((names.get(one) ?? other) !== other || (back.get(other) ?? one) !== one) differences.push([one, other]);
  names.set(one, other);
  back.set(other, one);
}

const isShortBoolean = ({ type, operator, argument }) =>
  type === "UnaryExpression" && operator === "!" && typeof argument.value === "number";

// Declarations that follow each other are one.
const apart = (nodes) => nodes.flatMap((node) => node?.type === "VariableDeclaration" ? node.declarations : node);

function compare(one, other, isName = false) {
  if (Array.isArray(one)) {
    [one, other] = [one, other].map(apart);
    if (one.length !== other.length) differences.push("another length");
    return one.forEach((each, at) => compare(each, other[at]));
  }
  if (!one || typeof one !== "object" || one instanceof RegExp) {
    return String(one) === String(other) || differences.push([one, other]);
  }
  if (typeof one.value === "boolean" && isShortBoolean(other)) {
    return one.value === !other.argument.value || differences.push([one.value]);
  }
  if (one.type !== other?.type) return differences.push([one.type, other?.type]);
  if (one.type === "PrivateIdentifier") return rename(`#${one.name}`, `#${other.name}`);
  if (one.type === "Identifier") {
    if (!isName) return rename(one.name, other.name);
    return one.name === other.name || differences.push([one.name, other.name]);
  }
  for (const key of Object.keys(one).filter((each) => !IGNORED.has(each))) {
    if (key === "kind" && one.type === "VariableDeclaration") continue; // const becomes let, in the head of a loop
    compare(one[key], other[key], !one.computed && ["property", "key"].includes(key));
  }
}

const [aliased, ...scripts] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const [before, after] = scripts.map((script) => parse(script).body);
const served = apart(after);
while (aliased.includes(served[0].init?.name)) {
  const { id, init } = served.shift();
  rename(init.name, id.name);
}
compare(before, served);
const renamed = [...names].filter(([one, other]) => one !== other).map(([one]) => one);
console.log(JSON.stringify({ count: before.length, differences: differences.slice(0, 5), renamed }));
"""


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The script as the modules are written, and as it is served."""
    served = bundle_scripts(FOLDER, *SCRIPTS)
    monkeypatch.setattr(page_script, "shortened", str)
    return bundle_scripts(FOLDER, *SCRIPTS), served


@pytest.fixture
def told(modules: tuple[str, str]) -> dict[str, Any]:
    node = ["node", "--expose-internals", "-e", COMPARE]
    done = subprocess.run(
        node, input=json.dumps([sorted(ALIASED), *modules]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_it_says_the_same_as_the_modules_in_far_fewer_letters(modules: tuple[str, str], told: dict[str, Any]) -> None:
    assert told["differences"] == []
    assert told["count"] > 300
    written, served = map(len, modules)
    assert served < written * 0.7


def test_no_name_of_the_browsers_is_another(told: dict[str, Any], browser: Browser) -> None:
    """One that a module declares may be the browser's in the next: `page_names.BROWSER` has those."""
    renamed = [name for name in told["renamed"] if name not in ALIASED]
    assert len(renamed) > 100
    with browser.new_page() as page:
        page.goto("about:blank")
        assert page.evaluate("(names) => names.filter((name) => name in globalThis)", renamed) == []
