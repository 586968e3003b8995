"""The page of the Python API."""

import contextlib
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, get_type_hints

import griffe

from tests.chat.setting_arguments import type_name
from tests.reference import markdown
from tests.reference.sources import load
from winterbourne.chat.settings import VARIABLES
from winterbourne.chat.tool_runtime.declaration import ToolOptions

__all__ = ["TOPICS", "Topic", "page", "public_names"]


TEMPLATE: Final = "python-api.md"
_PART: Final = re.compile(r"<!-- (entries|table) from ([\w.]+)(?:: ([\w, ]+))? -->")


class Topic(NamedTuple):
    """A section of the page, as the template has it.

    Attributes:
        title: Its heading.
        is_table: Whether its names are rows of a table, for small structs and errors.
        module: From where they are imported.
        names: In the order of the page; none for all of the module that no other section has.
    """

    title: str
    is_table: bool
    module: str
    names: Sequence[str]


def _read_topics() -> list[Topic]:
    sections = re.split(r"^## ", markdown.template(TEMPLATE), flags=re.MULTILINE)
    found = [(section.partition("\n")[0], _PART.search(section)) for section in sections]
    return [
        Topic(title, part[1] == "table", part[2], part[3].split(", ") if part[3] else [])
        for title, part in found
        if part
    ]


TOPICS: Final = _read_topics()

OPTIONS_OF: Final = {"tool": ToolOptions}
"""Functions whose further arguments are the fields of a struct."""

FOR_TYPE_CHECKERS: Final = {"FunctionTool[F]": "Tool", "Callable[[F], Tool]": "Callable[[Function], Tool]"}
"""What stands in signatures for type checkers alone, and what it is for a reader."""

GIVEN: Final = {"ResponseStream", "ToolContext"}
"""Classes of which nobody but the engine makes an instance."""


def public_names(topic: Topic) -> list[str]:
    """The names of a section, those of a whole module in the order of its source."""
    elsewhere = {name for each in TOPICS if not topic.module.endswith(".errors") for name in each.names}
    exported = {str(name) for name in _module(topic.module).exports or ()} - elsewhere
    return list(topic.names) or [name for name in _module(topic.module).members if name in exported]


def page() -> str:
    """The page."""
    text = markdown.fill(TEMPLATE, index=_index(), aliases=_aliases())
    topics = map(_topic, TOPICS)
    return _with_code(_with_links(_PART.sub(lambda _: next(topics), text)))


def _with_links(text: str) -> str:
    """The page with a link wherever it names another entry or a setting, but in code and headings."""
    entries = [name for topic in TOPICS if not topic.is_table for name in topic.names]
    links = {
        f"`{name}`": f"[`{name}`]({markdown.anchor(name)})" for name in entries if name != name.lower() or "_" in name
    }
    links |= {name: f"[{name}](settings.md{markdown.anchor(name)})" for name in VARIABLES}
    skipped = r"^```.*?^```|^#[^\n]*$|\[[^\]]*\]\([^)]*\)"
    pattern = re.compile(rf"{skipped}|`[^`\n]*`|\b[A-Z]+(?:_[A-Z]+)*\b(?!=)", re.MULTILINE | re.DOTALL)
    return pattern.sub(lambda match: links.get(match[0], match[0]), text)


def _with_code(text: str) -> str:
    """The page with its signatures in the project's format."""
    pattern = re.compile(r"^```signature\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
    formatted = iter(markdown.format_code(pattern.findall(text)))
    return pattern.sub(lambda _: f"```python\n{_as_declared(next(formatted))}\n```", text)


def _as_declared(code: str) -> str:
    for known, shown in FOR_TYPE_CHECKERS.items():
        code = code.replace(known, shown)
    return code.replace("def class_", "class ", 1)


def _index() -> str:
    return "\n".join(f"- [{topic.title}]({markdown.anchor(topic.title)}){_index_names(topic)}" for topic in TOPICS)


def _index_names(topic: Topic) -> str:
    return "" if topic.is_table else ": " + " · ".join(f"[`{each}`]({markdown.anchor(each)})" for each in topic.names)


def _topic(topic: Topic) -> str:
    names = public_names(topic)
    if topic.is_table:
        return _table(topic.module, names)
    return "\n\n".join(_entry(name, _find(topic.module, name)) for name in names)


def _module(name: str) -> griffe.Module:
    _, _, path = name.partition(".")
    module = load()[path] if path else load()
    assert isinstance(module, griffe.Module)
    return module


def _find(module: str, name: str) -> griffe.Object:
    found = _module(module).members[name]
    return found.final_target if isinstance(found, griffe.Alias) else found


def _entry(name: str, thing: griffe.Object, level: int = 3) -> str:
    """A class or a function, with its members."""
    parts = [f"{'#' * level} `{name}`", _signature(name, thing), *_sections(name, thing)]
    if isinstance(thing, griffe.Class):
        methods = [member for member in _members(thing) if isinstance(member, griffe.Function)]
        parts += [_entry(f"{name}.{each.name}", each, level + 1) for each in methods]
    return "\n\n".join(filter(None, parts))


def _members(thing: griffe.Class) -> Iterator[griffe.Object]:
    """The public ones, inherited ones of private bases first."""
    for name, member in thing.all_members.items():
        found = member.final_target if isinstance(member, griffe.Alias) else member
        if not name.startswith("_"):
            yield found


def _signature(name: str, thing: griffe.Object) -> str:
    match thing:
        case griffe.Function(overloads=overloads):
            shown = overloads[-1] if overloads else thing
            decorators = [str(each.value) for each in thing.decorators if str(each.value) == "classmethod"]
            prefix = "async def" if "async" in thing.labels else "def"
            code = f"{prefix} {thing.name}{_parameters(shown.parameters)}{_returns(shown)}"
            return _code("".join(f"@{each}\n" for each in decorators) + code)
        case griffe.Class() if _is_protocol(thing):
            return _code(f"def class_{thing.name}(Protocol)")
        case griffe.Class() if name in GIVEN:
            return ""
        case griffe.Class():
            return _code(f"def class_{thing.name}{_constructor(thing)}")
    raise TypeError(name)


def _code(text: str) -> str:
    return f"```signature\n{text}\n```"


def _is_protocol(thing: griffe.Class) -> bool:
    return any(str(base) == "Protocol" for base in thing.bases)


def _returns(function: griffe.Function) -> str:
    return f" -> {function.returns}" if function.returns is not None else ""


def _constructor(thing: griffe.Class) -> str:
    for one in (thing, *thing.mro()):
        if isinstance(function := one.members.get("__init__"), griffe.Function):
            return _parameters(function.parameters)
    if _is_error(thing):
        return "(message: str)"
    fields = [each for each in _members(thing) if isinstance(each, griffe.Attribute) and _is_field(each)]
    shown = [_attribute(each) + (f" = {_value(each.value)}" if each.value is not None else "") for each in fields]
    return f"({', '.join(['*', *shown] if thing.keywords.get('kw_only') == 'True' else shown)})"


def _value(default: str | griffe.Expr) -> str:
    """A default as it is written; in the place of a constant's name its value."""
    if isinstance(default, griffe.ExprName) and default.canonical_path.startswith("winterbourne."):
        constant = load()[default.canonical_path.partition(".")[2]]
        return str(constant.value)
    return str(default)


def _is_field(attribute: griffe.Attribute) -> bool:
    return (
        attribute.annotation is not None
        and "ClassVar" not in str(attribute.annotation)
        and not attribute.has_labels("property")
    )


def _is_error(thing: griffe.Class) -> bool:
    return any(str(base) == "Exception" for one in (thing, *thing.mro()) for base in one.bases)


def _parameters(parameters: griffe.Parameters) -> str:
    """The parameters in parentheses, with their stars and slashes."""
    kinds = griffe.ParameterKind
    shown: list[str] = []
    given = [each for each in parameters if each.name not in {"self", "cls"}]
    for index, each in enumerate(given):
        if each.kind is kinds.keyword_only and not any(one.startswith("*") for one in shown):
            shown.append("*")
        star = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(each.kind, "")
        hint = f": {each.annotation}" if each.annotation is not None else ""
        default = f" = {_value(each.default)}" if each.default is not None and not star else ""
        shown.append(f"{star}{each.name}{hint}{default}")
        is_last = index + 1 == len(given) or given[index + 1].kind is not kinds.positional_only
        if each.kind is kinds.positional_only and is_last:
            shown.append("/")
    return f"({', '.join(shown)})"


def _sections(name: str, thing: griffe.Object) -> Iterator[str]:
    """What the docstring says, section by section; attributes that have a docstring of their own with the others."""
    parsed = thing.docstring.parsed if thing.docstring else []
    own = _own_attributes(thing) if isinstance(thing, griffe.Class) else []
    kinds = griffe.DocstringSectionKind
    for section in parsed:
        if section.kind is kinds.attributes:
            own = [(each.name, each.description) for each in section.value] + own
        elif not (section.kind is kinds.parameters and name in GIVEN):
            yield _docstring_section(name, section)
    if own:
        yield f"**Attributes**\n\n{markdown.definitions(own)}"
    if name in OPTIONS_OF:
        yield f"**Options**\n\n{_options(OPTIONS_OF[name])}"


def _own_attributes(thing: griffe.Class) -> list[tuple[str, str]]:
    """Properties and attributes with a docstring of their own; what they raise is in it."""
    documented = [each for each in _members(thing) if isinstance(each, griffe.Attribute) and each.docstring]
    return [(_attribute(each), _in_one_line(each)) for each in documented]


def _in_one_line(thing: griffe.Object) -> str:
    """A docstring as one paragraph."""
    sections = thing.docstring.parsed if thing.docstring else []
    text = "\n".join(_docstring_section(thing.name, each).removeprefix("- ") for each in sections)
    return re.sub(r"\n+(?:- )?", " ", text)


def _attribute(attribute: griffe.Attribute) -> str:
    return f"{attribute.name}: {attribute.annotation}" if attribute.annotation is not None else attribute.name


def _options(struct: type[ToolOptions]) -> str:
    """The fields of a struct as arguments, as it describes them."""
    docstring = _find(struct.__module__, struct.__name__).docstring
    sections = docstring.parsed if docstring else []
    fields = [
        each for section in sections if section.kind is griffe.DocstringSectionKind.attributes for each in section.value
    ]
    hints, default = get_type_hints(struct), struct()
    return markdown.definitions(
        (
            f"{each.name}: {type_name(hints[each.name])} = {getattr(default, each.name)!r}".replace("'", '"'),
            each.description,
        )
        for each in fields
    )


def _docstring_section(name: str, section: griffe.DocstringSection) -> str:
    kinds = griffe.DocstringSectionKind
    match section.kind:
        case kinds.text:
            return markdown.prose(section.value)
        case kinds.parameters:
            own = [each for each in section.value if name not in OPTIONS_OF or not each.name.startswith("**")]
            return "**Args**\n\n" + markdown.definitions((each.name, each.description) for each in own)
        case kinds.attributes:
            return markdown.definitions((each.name, each.description) for each in section.value)
        case kinds.raises:
            raised = ((str(each.annotation), each.description) for each in section.value)
            return "**Raises**\n\n" + markdown.definitions(raised)
        case kinds.returns | kinds.yields:
            return f"**{section.kind.value.title()}**: {markdown.prose(section.value[0].description)}"
        case kinds.admonition:
            return f"**{section.title}**: {markdown.prose(section.value.contents)}"
    raise ValueError(f"{name}: a section of the kind {section.kind.value} is not written yet")


def _table(module: str, names: Iterable[str]) -> str:
    """Small structs, errors and aliases, one in a row."""
    found = [_find(module, name) for name in names]
    if all(isinstance(each, griffe.Class) and _is_error(each) for each in found):
        return _error_table(module, found)
    rows = ((f"`{_row_name(each)}`".replace("'", '"'), _in_one_line(each)) for each in found)
    return markdown.table(("name", "meaning"), rows)


def _row_name(thing: griffe.Object) -> str:
    match thing:
        case griffe.Class():
            return f"{thing.name}{_constructor(thing)}"
        case griffe.Function():
            return f"{thing.name}{_parameters(thing.parameters)}{_returns(thing)}"
        case griffe.Attribute():
            return f"{thing.name} = {thing.value}"
    raise TypeError(thing.name)


def _error_table(module: str, errors: Sequence[griffe.Object]) -> str:
    """Errors, each with its bases; those of a chat with the code and status that callers are told."""
    classes = [getattr(importlib.import_module(module), each.name) for each in errors]
    told = ("code", "status") if hasattr(classes[0], "code") else ()
    rows = (
        (
            f"`{each.__name__}`",
            ", ".join(f"`{base.__name__}`" for base in each.__bases__),
            *(_told(each, name) for name in told),
            _in_one_line(source),
        )
        for each, source in zip(classes, errors, strict=True)
    )
    return markdown.table(("class", "is a", *told, "meaning"), rows)


def _told(error: type, name: str) -> str:
    """A code or status; it may be that of the class, or of each error."""
    init = vars(error).get("__init__")
    return "as raised" if init and name in inspect.signature(init).parameters else f"`{getattr(error, name)}`"


def _aliases() -> str:
    """The names in signatures that stand for a type."""
    found: dict[str, griffe.Attribute] = {}
    for topic in TOPICS:
        for name in public_names(topic):
            found |= _aliases_in(_find(topic.module, name))
    known = {name for topic in TOPICS for name in public_names(topic)}
    entries = [(f"{name} = {found[name].value}", _in_one_line(found[name])) for name in sorted(found.keys() - known)]
    return "\n".join(f"- `{shown}`{text and ': '}{text}" for shown, text in entries)


def _aliases_in(thing: griffe.Object) -> dict[str, griffe.Attribute]:
    found: dict[str, griffe.Attribute] = {}
    for expression in _expressions(thing):
        for part in expression.iterate(flat=True):
            if isinstance(part, griffe.ExprName) and part.canonical_path.startswith("winterbourne."):
                with contextlib.suppress(griffe.AliasResolutionError):  # a name of another package
                    target = load()[part.canonical_path.partition(".")[2]]
                    if isinstance(target, griffe.Attribute) and str(target.annotation) == "TypeAlias":
                        found |= {target.name: target}
    return found


def _expressions(thing: griffe.Object) -> Iterator[griffe.Expr]:
    """The types in what is shown of a class or a function."""
    match thing:
        case griffe.Function():
            given: list[Any] = [thing.returns, *(each.annotation for each in thing.parameters)]
            yield from (each for each in given if isinstance(each, griffe.Expr))
        case griffe.Attribute():
            shown = thing.value if str(thing.annotation) == "TypeAlias" else thing.annotation
            yield from [shown] if isinstance(shown, griffe.Expr) else []
        case griffe.Class():
            made = thing.name not in GIVEN and thing.members.get("__init__")
            for member in (*([made] if isinstance(made, griffe.Function) else []), *_members(thing)):
                yield from _expressions(member)
