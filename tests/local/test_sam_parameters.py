"""The parameters of `make deploy`: the stage's own in any form that sam takes, and over them those given."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samcli.cli.types import CfnParameterOverridesType

from winterbourne.chat.settings_variable import parse_settings
from winterbourne.local.sam_parameters import merge_parameters

SETTINGS = 'MAX_TURNS=6;SYSTEM_PROMPT=Say "ahoy";MCP_SERVERS=a=https://a.example/mcp'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose stages write their parameters differently."""
    in_quotes = SETTINGS.replace('"', '\\"')
    (tmp_path / "samconfig.toml").write_text(f"""
version = 0.1
[list.deploy.parameters]
parameter_overrides = ["Stage=dev", "ModelId=a=b", 'Settings="{in_quotes}"']
[text.deploy.parameters]
parameter_overrides = 'Stage=dev ModelId=a=b Settings="{in_quotes}"'
[table.deploy.parameters.parameter_overrides]
Stage = "dev"
ModelId = "a=b"
Settings = '{SETTINGS}'
[mixed.global.parameters]
parameter_overrides = ["Stage=dev", "ModelId=a=b", {{Settings = '{SETTINGS}'}}]
[none.deploy.parameters]
confirm_changeset = true
""")
    return tmp_path


def sam_reads(line: str) -> dict[str, str]:
    parsed: dict[str, str] = CfnParameterOverridesType().convert((line,), None, None)
    return parsed


@pytest.mark.parametrize("stage", ["list", "text", "table", "mixed"])
def test_of_a_stage_arrive_whatever_their_form(folder: Path, stage: str) -> None:
    assert sam_reads(merge_parameters(stage, "", str(folder))) == {
        "Stage": "dev",
        "ModelId": "a=b",
        "Settings": SETTINGS,
    }


def test_given_ones_win_and_leave_the_others(folder: Path) -> None:
    merged = sam_reads(merge_parameters("list", "ModelId=c SecretArns='a b' Release=9", str(folder)))
    assert merged == {"Stage": "dev", "ModelId": "c", "Settings": SETTINGS, "SecretArns": "a b", "Release": "9"}


def test_are_those_given_if_the_stage_has_none(folder: Path) -> None:
    assert sam_reads(merge_parameters("none", "ModelId=c", str(folder))) == {"ModelId": "c"}


@given(value=st.text(st.characters(codec="ascii", exclude_characters="\\\0\r"), min_size=1))
def test_have_any_value_without_a_backslash(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    stage = f"version = 0.1\n[dev.deploy.parameters.parameter_overrides]\nSettings = {json.dumps('A=' + value)}\n"
    (folder / "samconfig.toml").write_text(stage.replace("\x7f", "\\u007f"))
    assert sam_reads(merge_parameters("dev", "", str(folder))) == {"Settings": f"A={value}"}


def test_no_settings_given_take_those_of_the_stage_away(folder: Path) -> None:
    assert sam_reads(merge_parameters("list", 'Settings=""', str(folder)))["Settings"] == ""


@pytest.mark.parametrize("given", ["rubbish", "Settings=A"])
def test_what_cannot_be_read_is_one_sentence(folder: Path, given: str) -> None:
    command = [sys.executable, "-m", "winterbourne.local.sam_parameters", "list", given]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("the parameters of the stage, or those given in PARAMETERS, cannot be read: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stage", ["list", "text", "table", "mixed"])
def test_entries_of_settings_are_merged_one_by_one(folder: Path, stage: str) -> None:
    line = merge_parameters(stage, "Settings=MAX_TURNS=9;HTTP_POOL_MAXSIZE=200;MCP_SERVERS=", str(folder))
    entries = {"MAX_TURNS": "9", "SYSTEM_PROMPT": 'Say "ahoy"', "MCP_SERVERS": "", "HTTP_POOL_MAXSIZE": "200"}
    assert parse_settings(sam_reads(line)["Settings"]) == entries
