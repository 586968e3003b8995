"""Reading the `Cors` property of a function URL from a SAM template."""

from dataclasses import replace
from pathlib import Path

import pytest

from winterbourne.local.cors import Cors
from winterbourne.local.cors_template import ANY_REQUEST, TemplateError, default_cors, read_cors

ROOT = Path(__file__).parents[2]

TEMPLATE = """
Parameters:
  AllowedOrigins:
    Type: CommaDelimitedList
    Default: https://a.example, https://b.example
Resources:
  Table: {Type: AWS::DynamoDB::Table}
  Function:
    Properties:
      FunctionUrlConfig:
        Cors: !If
          - HasOrigins
          - AllowOrigins: !Ref AllowedOrigins
            AllowMethods: [GET, POST]
            AllowHeaders: [content-type]
            AllowCredentials: true
            MaxAge: 60
          - !Ref AWS::NoValue
"""


def write(folder: Path, text: str) -> Path:
    (folder / "template.yaml").write_text(text)
    return folder / "template.yaml"


def test_a_template_gives_the_configuration_with_its_parameters_defaults(tmp_path: Path) -> None:
    assert read_cors(write(tmp_path, TEMPLATE)) == Cors(
        allow_origins=("https://a.example", "https://b.example"),
        allow_methods=("GET", "POST"),
        allow_headers=("content-type",),
        allow_credentials=True,
        max_age=60,
    )


def test_our_own_template_can_be_read() -> None:
    assert "POST" in read_cors(ROOT / "template.yaml").allow_methods


@pytest.mark.parametrize("text", ["Resources: {}", "[]", "a: [", "Resources: {F: {Properties: {}}}"])
def test_a_template_without_cors_is_rejected_in_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(TemplateError, match="template"):
        read_cors(write(tmp_path, text))


def test_a_missing_template_is_rejected_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="cannot be read"):
        read_cors(tmp_path / "none.yaml")


class TestTheDefault:
    def test_is_that_of_the_template_without_its_origins(self, tmp_path: Path) -> None:
        cors = default_cors(write(tmp_path, TEMPLATE))
        assert (cors.allow_origins, cors.allow_methods, cors.allow_headers) == ((), ("GET", "POST"), ("content-type",))

    @pytest.mark.parametrize("text", ["a: [", "Resources: {}"])
    def test_is_any_request_without_a_template(self, tmp_path: Path, text: str) -> None:
        assert default_cors(write(tmp_path, text)) == default_cors(tmp_path / "none.yaml") == ANY_REQUEST

    def test_lets_every_header_through_without_a_template(self) -> None:
        """`*` alone does not stand for `authorization`."""
        sent = {"origin": "http://localhost:5173", "access-control-request-method": "DELETE"}
        headers = dict(replace(ANY_REQUEST, allow_local_origins=True).preflight_headers(sent))
        assert headers["access-control-allow-methods"] == "*"
        assert headers["access-control-allow-headers"] == "*,authorization"


def test_the_long_form_of_a_built_template_can_be_read(tmp_path: Path) -> None:
    long = """
Resources:
  Function:
    Properties:
      FunctionUrlConfig:
        Cors:
          Fn::If:
          - HasOrigins
          - {AllowOrigins: {Ref: AllowedOrigins}, AllowMethods: [GET], AllowHeaders: [x]}
          - {Ref: AWS::NoValue}
"""
    assert read_cors(write(tmp_path, long)) == Cors(allow_methods=("GET",), allow_headers=("x",))
