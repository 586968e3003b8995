"""OTLP export: which requests are traced, what is said of the process, X-Ray's signature, settings that are wrong."""

import json
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from tests.collector import collector, parse
from winterbourne import Response
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import http_pool, redaction
from winterbourne.chat.infra.otlp import Tracer
from winterbourne.chat.infra.spans import MAX_TEXT_CHARS, Span
from winterbourne.chat.infra.tracing import propagated_headers
from winterbourne.chat.settings import LogSettings, TraceSettings

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"}
LAMBDAS_OWN = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled="
XRAYS = "5759e988bd862e3fe1be46a994272793"


def tracer(**settings: Any) -> Tracer:
    values = {"otel_exporter_otlp_endpoint": "http://127.0.0.1:4318", **settings}
    return Tracer(TraceSettings(**values), LogSettings(service_name="desk"))


def begin(incoming: dict[str, str], **settings: Any) -> Span | None:
    return tracer(**settings).begin(incoming, "POST /chat", "r-1")


class TestSampling:
    @pytest.mark.parametrize(
        ("sampler", "of_nobody", "of_a_sampled_parent", "of_an_unsampled_parent"),
        [
            ("always_on", True, True, True),
            ("always_off", False, False, False),
            ("parentbased_always_on", True, True, False),
            ("parentbased_always_off", False, True, False),
        ],
    )
    def test_is_the_samplers(
        self,
        sampler: str,
        of_nobody: bool,  # noqa: FBT001 - of a table
        of_a_sampled_parent: bool,  # noqa: FBT001
        of_an_unsampled_parent: bool,  # noqa: FBT001
    ) -> None:
        traced = [bool(begin(each, otel_traces_sampler=sampler)) for each in ({}, SAMPLED, UNSAMPLED)]
        assert traced == [of_nobody, of_a_sampled_parent, of_an_unsampled_parent]

    @given(st.integers(min_value=1, max_value=2**128 - 1), st.floats(min_value=0, max_value=1))
    def test_of_a_share_depends_on_the_trace_alone_so_that_all_services_agree(self, number: int, share: float) -> None:
        parent = {"traceparent": f"00-{number:032x}-{PARENT_ID}-00"}
        span = begin(parent, otel_traces_sampler="traceidratio", otel_traces_sampler_arg=share)
        # The rule of OpenTelemetry's SDKs: the low 64 bits, below the share of all.
        assert bool(span) is ((number & (2**64 - 1)) < share * 2**64)

    def test_of_half_is_half(self) -> None:
        half = {"otel_traces_sampler": "parentbased_traceidratio", "otel_traces_sampler_arg": 0.5}
        traced = sum(bool(begin({}, **half)) for _ in range(400))
        assert 120 < traced < 280

    def test_lambda_that_does_not_sample_is_no_decision_of_the_callers(self) -> None:
        """Without active tracing Lambda says so of every invocation, and there is no segment to be part of."""
        span = begin(propagated_headers({}, LAMBDAS_OWN + "0"))
        assert span
        assert (span.trace.trace_id, span.parent_id) == (XRAYS, "")

    def test_lambdas_own_segment_is_the_parent_if_it_is_sampled(self) -> None:
        span = begin(propagated_headers({}, LAMBDAS_OWN + "1"), otel_traces_sampler="parentbased_always_off")
        assert span
        assert (span.trace.trace_id, span.parent_id) == (XRAYS, "53995c3f42cd8ad8")

    def test_a_callers_own_decision_holds_beside_lambdas(self) -> None:
        assert not begin(propagated_headers(UNSAMPLED, LAMBDAS_OWN + "1"))

    def test_a_root_without_a_parent_is_the_trace(self) -> None:
        span = begin(propagated_headers({}, LAMBDAS_OWN.partition(";")[0]))
        assert span
        assert span.trace.trace_id == XRAYS


def encoded(made: Tracer, **attributes: Any) -> bytes:
    span = made.begin({}, "POST /chat", "r-1")
    assert span
    with span:
        span.attributes |= attributes
    return made.encode(span.trace)


class TestEncoding:
    @given(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.none()
            | st.booleans()
            | st.integers(min_value=-(2**63), max_value=2**63 - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"]))
            | st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
        )
    )
    def test_what_any_attribute_is_the_parsers_read(self, attributes: dict[str, Any]) -> None:
        (span,) = parse(b'{"resourceSpans":[%b]}' % encoded(tracer(), **attributes))
        told = {name: value for name, value in attributes.items() if value is not None}
        assert span.attributes == {"faas.invocation_id": "r-1", **told}

    def test_long_text_is_cut(self) -> None:
        (span,) = parse(b'{"resourceSpans":[%b]}' % encoded(tracer(), text="é" * 100_000))
        assert span.attributes["text"] == "é" * MAX_TEXT_CHARS

    def test_a_span_does_not_end_before_it_begins_if_the_clock_is_set_back(self) -> None:
        """As it is where an environment is thawed or restored."""
        made = tracer()
        span = made.begin({}, "POST /chat", "r-1")
        assert span
        with span:
            span.started_ns += 10**12
        (told,) = parse(b'{"resourceSpans":[%b]}' % made.encode(span.trace))
        assert told.started_ns == told.ended_ns

    def test_a_secret_at_the_cut_is_not_told_in_part(self) -> None:
        redaction.register("open-sesame-1234")
        told = encoded(tracer(), text="." * (MAX_TEXT_CHARS - 8) + "open-sesame-1234")
        assert b"open-ses" not in told

    def test_says_where_it_comes_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "desk-ChatFunction-1")
        monkeypatch.setenv("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/desk")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        made = tracer(otel_resource_attributes="team=harbour%20desk,deployment.environment.name=prod")
        resource = json.loads(encoded(made))["resource"]["attributes"]
        told = {each["key"]: each["value"] for each in resource}
        assert told["service.name"] == {"stringValue": "desk"}
        assert told["team"] == {"stringValue": "harbour desk"}
        assert told["faas.name"] == {"stringValue": "desk-ChatFunction-1"}
        assert told["cloud.platform"] == {"stringValue": "aws_lambda"}
        assert told["aws.log.group.names"] == {"arrayValue": {"values": [{"stringValue": "/aws/lambda/desk"}]}}

    @pytest.mark.parametrize(
        ("settings", "name"),
        [
            ({}, "desk"),
            ({"otel_resource_attributes": "service.name=harbour"}, "harbour"),
            ({"otel_service_name": "quay", "otel_resource_attributes": "service.name=harbour"}, "quay"),
        ],
    )
    def test_the_service_has_the_name_that_the_settings_give_it(self, settings: dict[str, str], name: str) -> None:
        (span,) = parse(b'{"resourceSpans":[%b]}' % encoded(tracer(**settings)))
        assert span.service == name


class TestEndpoint:
    @pytest.mark.parametrize(
        "endpoint", ["http://c.example:4318", "http://c.example:4318/", "http://c.example:4318/v1/traces"]
    )
    def test_the_path_of_traces_is_added_once(self, endpoint: str) -> None:
        assert tracer(otel_exporter_otlp_endpoint=endpoint)._url == "http://c.example:4318/v1/traces"

    async def test_requests_to_xray_are_signed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        sent: list[httpx.Request] = []

        async def respond(request: httpx.Request) -> httpx.Response:
            sent.append(request)
            return httpx.Response(200, json={})

        made = tracer(otel_exporter_otlp_endpoint="https://xray.eu-central-1.amazonaws.com")
        span = made.begin({}, "POST /chat", "r-1")
        assert span
        with span:
            pass
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
            monkeypatch.setattr(http_pool, "client", lambda: client)
            await made.export(span.trace, float("inf"))
        (request,) = sent
        assert str(request.url) == "https://xray.eu-central-1.amazonaws.com/v1/traces"
        signed = {name: request.headers[name] for name in ("host", "content-type", "x-amz-date")}
        expected = AWSRequest("POST", str(request.url), headers=signed, data=request.content)
        expected.context["timestamp"] = request.headers["x-amz-date"]
        auth = SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "xray", "eu-central-1")
        canonical = auth.canonical_request(expected)
        signature = auth.signature(auth.string_to_sign(expected, canonical), expected)
        assert request.headers["authorization"].endswith(f"Signature={signature}")
        assert "/eu-central-1/xray/aws4_request" in request.headers["authorization"]

    async def test_headers_of_a_secret_are_sent_and_redacted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def read(*_: object) -> str:
            return "x-team-key=a-key-of%2Dmany-letters"

        monkeypatch.setattr("winterbourne.chat.infra.secrets._fetch", read)
        made = tracer(otel_exporter_otlp_headers_secret_arn="arn:aws:ssm:eu-central-1:1:parameter/key")
        async with collector() as found:
            made._url = f"{found.url}/v1/traces"
            span = made.begin({}, "POST /chat", "r-1")
            assert span
            with span:
                pass
            await made.export(span.trace, float("inf"))
        assert found.requests[0].headers["x-team-key"] == "a-key-of-many-letters"
        assert redaction.redact("a-key-of-many-letters") != "a-key-of-many-letters"

    @pytest.mark.parametrize(
        ("host", "region"),
        [
            ("xray.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("xray-fips.us-east-1.amazonaws.com", "us-east-1"),
            ("xray.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("xray.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("xray.example.com", ""),
            ("xray.eu-central-1.amazonaws.com.example", ""),
        ],
    )
    def test_only_xrays_own_hosts_get_a_signature(self, host: str, region: str) -> None:
        assert tracer(otel_exporter_otlp_endpoint=f"https://{host}")._xray_region == region

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("otel_exporter_otlp_endpoint", "collector:4318"),
            ("otel_exporter_otlp_endpoint", "ftp://c.example"),
            ("otel_exporter_otlp_headers", "a-key-without-a-name"),
            ("otel_resource_attributes", "=x"),
            ("otel_traces_sampler", "sometimes"),
        ],
    )
    def test_a_setting_that_is_wrong_is_named_and_not_shown(self, setting: str, value: str) -> None:
        with pytest.raises(SettingsError, match=setting.upper()) as error:
            tracer(**{setting: value})
        assert value not in str(error.value)


class TestEnd:
    def test_a_refusal_has_nothing_to_tell(self) -> None:
        made = tracer()
        span = made.begin({}, "POST /chat", "r-1")
        assert span
        with span:
            assert made.end(span, {"error_type": "unauthorized"}, Response(401)) is None

    def test_a_failure_does(self) -> None:
        made = tracer()
        span = made.begin({}, "POST /chat", "r-1")
        assert span
        with span:
            assert made.end(span, {"error_type": "StorageUnavailable"}, Response(503))
        assert span.error == "StorageUnavailable"
