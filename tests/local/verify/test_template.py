"""What verify deploys is the project's template: with another function, without secrets, and once so that it fails."""

import re
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack, source, template_of
from winterbourne.local.new import DOORS
from winterbourne.local.verify.cost import estimate
from winterbourne.local.verify.stack import FUNCTION
from winterbourne.local.verify.template import failing_template, own_parameters, read_template, with_function

TEMPLATE = ROOT / "template.yaml"


def test_the_function_is_in_the_place_of_the_chat_and_all_else_is_the_projects(tmp_path: Path) -> None:
    template = read_template(TEMPLATE)
    changed = with_function(template, tmp_path, "sesame")
    chat = changed["Resources"].pop("ChatFunction")
    variables = template["Resources"]["ChatFunction"]["Properties"]["Environment"]["Variables"]
    assert chat["Properties"]["Environment"]["Variables"] == {**variables, "VERIFY_TOKEN": "sesame"}
    assert (chat["Properties"]["CodeUri"], chat["Metadata"]) == (str(tmp_path), {"SkipBuild": True})
    module, _, handler = chat["Properties"]["Handler"].rpartition(".")
    assert re.search(rf"^{handler} = ", (FUNCTION / f"{module}.py").read_text(), re.MULTILINE)
    assert template["Resources"].pop("ChatFunction")
    assert changed == template


def test_what_is_no_template_of_a_chat_is_told(tmp_path: Path) -> None:
    for text in ("Resources: {}", "- 1", ""):
        (tmp_path / "template.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"template\.yaml has no ChatFunction"):
            read_template(tmp_path / "template.yaml")


@pytest.mark.parametrize("door", [door for door in DOORS if door != "cloudfront"])
def test_its_parameters_are_allowed_and_leave_nothing_that_a_stage_names(door: str) -> None:
    template = source(template_of(door))
    stage = dict.fromkeys(template["Parameters"], "a-secret-of-the-stage")
    found = own_parameters(template, {**stage, "Architecture": "x86_64", "MemorySize": "1024", "AllowedOrigins": ""})
    assert "a-secret-of-the-stage" not in found.values()
    assert (found["Architecture"], found["MemorySize"]) == ("x86_64", "1024")
    stack = Stack(template_of(door), **found)
    assert stack.refusals == []
    assert stack.properties("Conversations")["DeletionProtectionEnabled"] is False
    variables = stack.properties("ChatFunction")["Environment"]["Variables"]
    assert (variables["MODEL_PROVIDER"], variables["AUTH"]) == ("scripted", "api_key")
    if door == "url":
        assert stack.properties("ChatUrl")["AuthType"] == "NONE"
        assert stack.properties("ChatUrl")["Cors"]["AllowOrigins"] == ["https://verify.example"]


def test_a_stage_that_lets_all_origins_in_leaves_one_to_measure_and_others_to_refuse() -> None:
    template = source(TEMPLATE)
    assert own_parameters(template, {"AllowedOrigins": "*"})["AllowedOrigins"] == "https://verify.example"
    given = "https://a.example,https://b.example"
    assert own_parameters(template, {"AllowedOrigins": given})["AllowedOrigins"] == given


def test_the_one_that_fails_waits_until_everything_else_is_there() -> None:
    resources = failing_template(read_template(TEMPLATE))["Resources"]
    wait = resources["Fails"]
    assert {"ChatFunction", "Conversations", "ChatUrl", "SigningKey"} <= {*wait["DependsOn"]}
    assert not [name for name in wait["DependsOn"] if "Condition" in resources[name]]
    assert wait["Properties"]["Handle"] == {"Ref": "NeverSignalled"}


class TestTheCost:
    def test_is_cents(self) -> None:
        items = estimate(read_template(TEMPLATE), 512, 2 * 3600)
        assert 0.05 < sum(item.dollars for item in items) < 1
        assert all(item.page.startswith("https://aws.amazon.com/") for item in items)
        assert all(item.dollars > 0 for item in items)

    def test_grows_with_memory_and_time(self) -> None:
        template = read_template(TEMPLATE)

        def dollars(memory_mb: int, seconds: float) -> float:
            return sum(item.dollars for item in estimate(template, memory_mb, seconds))

        assert dollars(512, 3600) < dollars(1024, 3600) < dollars(1024, 7200)
