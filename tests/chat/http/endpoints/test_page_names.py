"""Short names of variables: which names become others, and which stay because others know them."""

import pytest

from winterbourne.chat.http.endpoints.page_names import shorten_names

CASES = """
const text=load(~);show(text.text,text);
const a=load(~);show(a.text,a);

function call(value){return value}call(1);
function a(b){return b}a(1);

const{value,other:title=~}=x;show({value,title:title});
const{value,other:a=~}=x;show({value,title:a});

const{value}=x;value+value+value;show({value});
const{value:a}=x;a+a+a;show({value:a});

items.map((item)=>item.item);
items.map((a)=>a.item);

items.map(item=>[...item,{item},item.a]);
items.map(a=>[...a,{item:a},a.a]);

f(({signal,count=2},[first,...others])=>first+others+count+count);
f(({signal,count:a=2},[b,...c])=>b+c+a+a);

const size=1;a=b?size:size;c={size:size,b:b?size:0};
const d=1;a=b?d:d;c={size:d,b:b?d:0};

const send=1;o={send(value){return value},get size(){return send},async*rows(){}};
const a=1;o={send(b){return b},get size(){return a},async*rows(){}};

class Row extends Base{#size=1;static kind=2;size(kind){return this.#size+kind}}new Row;
class a extends Base{#a=1;static kind=2;size(b){return this.#a+b}}new a;

try{go()}catch(error){show(error)}
try{go()}catch(a){show(a)}

el(~,{class:~},({text})=>{if(document.title){text();text()}});
el(~,{class:~},({text:a})=>{if(document.title){a();a()}});

for(const[one,other]of list)one(other);
for(const[a,b]of list)a(b);

const status=1;const history=2;status+history;
const status=1;const history=2;status+history;

if(check(browsers)){const abc=browsers}
if(check(browsers)){const a=browsers}

o={a:b*call(1),c:d?call:e};function call(){}
o={a:b*a(1),c:d?a:e};function a(){}

document.a(document.b,document.c,document.document);const text=5;text+text
let a=document;a.a(a.b,a.c,a.document);const b=5;b+b
""".replace("~", "\0")


@pytest.mark.parametrize("case", CASES.strip().split("\n\n"), ids=str.splitlines)
def test_a_variable_has_another_name_everywhere_and_a_property_never(case: str) -> None:
    code, short = case.splitlines()
    assert shorten_names(code) == short


def test_there_are_names_enough_and_none_is_a_word_of_the_language() -> None:
    names = [f"variable{number}" for number in range(5000)]
    code = ";".join(f"const {name}=1;{name}+{name}" for name in names)
    short = shorten_names(code).split(";")[::2]
    declared = [each.removeprefix("const ").removesuffix("=1") for each in short]
    assert len(set(declared)) == 5000
    assert not {"do", "if", "in", "of", "as", "for", "let", "new", "try", "var"} & set(declared)
    assert max(map(len, declared)) == 3
