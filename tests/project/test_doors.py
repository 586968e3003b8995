"""The templates of other doors than the function URL, the page on all of them, and what its snippets are worth."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # it ships no types

from tests.bench import bench_cost, door_cost
from tests.cloudwatch import Metrics, Rules, is_in_alarm
from tests.doc_pages import blocks, commands
from tests.stack import ROOT, Stack, source, template_of
from winterbourne.local.new import DOORS, engine_files

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"
DOMAIN = {"DomainName": "chat.example", "CertificateArn": CERTIFICATE}


def rest(**parameters: str) -> Stack:
    return Stack(template_of("rest"), **parameters)


def cloudfront(**parameters: str) -> Stack:
    return Stack(template_of("cloudfront"), Origin="abc.lambda-url.eu-central-1.on.aws", **parameters)


def methods(stack: Stack) -> dict[str, dict[str, Any]]:
    """The methods of the REST API by path and name."""
    paths = stack.properties("ChatApi")["Body"]["paths"]
    return {
        f"{path} {name.removeprefix('x-amazon-apigateway-').removesuffix('-method')}": method
        for path, all_of in paths.items()
        for name, method in all_of.items()
        if name != "parameters"
    }


class TestPieces:
    """The REST API's template is made of the function URL's, so that the two cannot drift."""

    HEADING = re.compile(r"^ *# >> (.+)$", re.MULTILINE)
    PIECE = re.compile(r"^ *# >> .+\n(?:.*\n)*?^ *# <<\n", re.MULTILINE)

    def test_are_the_same_in_both(self) -> None:
        own = ROOT / "layers/winterbourne/python/winterbourne/local/files/doors/rest.yaml"
        headings = self.HEADING.findall((ROOT / "template.yaml").read_text())
        assert headings == self.HEADING.findall(own.read_text())
        assert len(set(headings)) == len(headings)

    def test_are_all_that_differs(self) -> None:
        url, rest_api = (self.PIECE.sub("", template_of(door).read_text()) for door in ("url", "rest"))
        assert url == rest_api

    @pytest.mark.parametrize("door", DOORS)
    def test_leave_every_other_file_as_it_is(self, door: str) -> None:
        others = ("template.yaml", "cloudfront.yaml")
        url, own = ({n: c for n, c in engine_files(d).items() if n not in others} for d in ("url", door))
        assert own == url


class TestRestApi:
    @pytest.mark.parametrize(
        ("snap_start", "target", "qualified"),
        [
            ("None", "<ChatFunction>", "<ChatFunction.Arn>"),
            ("PublishedVersions", "<ChatFunctionAliaslive>", "<ChatFunctionAliaslive>"),
        ],
    )
    def test_streams_every_path_from_the_function_or_its_snapshot(
        self, snap_start: str, target: str, qualified: str
    ) -> None:
        stack = rest(SnapStart=snap_start)
        assert set(methods(stack)) == {"/ any", "/{proxy+} any", "/{proxy+} options"}
        lambda_path = "arn:aws:apigateway:eu-central-1:lambda:path/2021-11-15/functions"
        for method in methods(stack).values():
            assert method["x-amazon-apigateway-integration"] == {
                "type": "aws_proxy",
                "httpMethod": "POST",
                "uri": f"{lambda_path}/{qualified}/response-streaming-invocations",
                "responseTransferMode": "STREAM",
                "timeoutInMillis": 900_000,
            }
        assert list(stack.of_type("AWS::Lambda::Permission").values()) == [
            {
                "Action": "lambda:InvokeFunction",
                "FunctionName": target,
                "Principal": "apigateway.amazonaws.com",
                "SourceArn": "arn:aws:execute-api:eu-central-1:123456789012:<ChatApi>/*",
            }
        ]

    def test_lets_an_answer_take_as_long_as_the_function_may(self) -> None:
        longest_s = source(template_of("rest"))["Parameters"]["Timeout"]["MaxValue"]
        assert all(
            m["x-amazon-apigateway-integration"]["timeoutInMillis"] >= 1000 * longest_s
            for m in methods(rest()).values()
        )

    def test_is_regional_for_at_an_edge_half_a_minute_of_silence_ends_a_stream(self) -> None:
        assert rest().properties("ChatApi")["EndpointConfiguration"] == {"Types": ["REGIONAL"]}

    def test_is_deployed_again_each_time_so_that_a_parameter_takes_effect(self) -> None:
        assert source(template_of("rest"))["Resources"]["ChatApi"]["Properties"]["AlwaysDeploy"] is True

    def test_has_no_function_url_beside_it(self) -> None:
        assert not rest().of_type("AWS::Lambda::Url")
        assert "CloudFrontDistributionArn" not in source(template_of("rest"))["Parameters"]

    def test_knows_callers_by_their_signatures_with_iam_and_lets_browsers_ask_first(self) -> None:
        assert all("security" not in method for method in methods(rest()).values())
        signed = rest(Auth="iam", AllowedOrigins="https://a.example")
        assert {name: "security" in method for name, method in methods(signed).items()} == {
            "/ any": True,
            "/{proxy+} any": True,
            "/{proxy+} options": False,
        }
        ((scheme, scopes),) = methods(signed)["/ any"]["security"][0].items()
        schemes = signed.properties("ChatApi")["Body"]["components"]["securitySchemes"]
        assert (schemes[scheme]["x-amazon-apigateway-authtype"], scopes) == ("awsSigv4", [])

    def test_leaves_cors_to_the_chat_and_lets_pages_read_what_the_gateway_refuses(self) -> None:
        body = rest(AllowedOrigins="https://a.example,https://b.example").properties("ChatApi")["Body"]
        prefix = "gatewayresponse.header.Access-Control-"
        header = {f"{prefix}Allow-Origin": "'*'", f"{prefix}Expose-Headers": "'x-amzn-requestid,x-amzn-errortype'"}
        assert body["x-amazon-apigateway-gateway-responses"] == {
            kind: {"responseParameters": header} for kind in ("DEFAULT_4XX", "DEFAULT_5XX")
        }
        function = rest(AllowedOrigins="https://a.example,https://b.example").properties("ChatFunction")
        assert function["Environment"]["Variables"]["CORS_ORIGINS"] == "https://a.example,https://b.example"

    def test_lets_no_other_origin_in_by_default(self) -> None:
        assert "x-amazon-apigateway-gateway-responses" not in rest().properties("ChatApi")["Body"]
        assert rest().properties("ChatFunction")["Environment"]["Variables"]["CORS_ORIGINS"] == ""

    def test_takes_no_more_requests_than_it_may(self) -> None:
        (setting,) = rest(RequestsPerSecond="7", RequestsAtOnce="9").properties("ChatApiv1Stage")["MethodSettings"]
        assert (setting["ThrottlingRateLimit"], setting["ThrottlingBurstLimit"]) == ("7", "9")
        assert (setting["ResourcePath"], setting["HttpMethod"]) == ("/*", "*")

    @pytest.mark.parametrize(("asked", "state"), [(0, True), (1, False)])
    def test_has_an_alarm_for_what_never_reaches_the_function(self, asked: int, state: bool) -> None:  # noqa: FBT001 - a table
        alarm, now = rest().properties("GatewayAlarm"), 1_800_000_000
        for rules in (Rules(extra=0, fills_empty=False), Rules(extra=4, fills_empty=True)):
            metrics = Metrics()
            for minutes in range(1, 11):
                at_s = now - minutes * 60
                stage = {"ApiName": "winterbourne-dev", "Stage": "<ChatApiv1Stage>"}
                metrics.add("AWS/ApiGateway", "5XXError", stage, at_s, 1)
                for _ in range(asked):  # Lambda counts no zeros
                    metrics.add("AWS/Lambda", "Invocations", {"FunctionName": "<ChatFunction>"}, at_s, 1)
            assert is_in_alarm(alarm, metrics, now, rules) is state
            assert not is_in_alarm(alarm, metrics, now + 3600, rules)

    def test_hears_of_an_outage_of_which_callers_notice_twice_an_hour(self) -> None:
        alarm, now = rest().properties("GatewayAlarm"), 1_800_000_000
        for rules in (Rules(extra=0, fills_empty=False), Rules(extra=4, fills_empty=True)):
            metrics = Metrics()
            for minutes in (40, 10):
                stage = {"ApiName": "winterbourne-dev", "Stage": "<ChatApiv1Stage>"}
                metrics.add("AWS/ApiGateway", "5XXError", stage, now - minutes * 60, 1)
            assert is_in_alarm(alarm, metrics, now, rules)

    def test_is_behind_the_firewall_that_is_named(self) -> None:
        assert not rest().of_type("AWS::WAFv2::WebACLAssociation")
        (association,) = rest(WebAclArn="the-acl").of_type("AWS::WAFv2::WebACLAssociation").values()
        stage = "arn:aws:apigateway:eu-central-1::/restapis/<ChatApi>/stages/<ChatApiv1Stage>"
        assert association == {"WebACLArn": "the-acl", "ResourceArn": stage}

    def test_has_a_domain_if_one_is_named_and_its_record_if_the_zone_is(self) -> None:
        assert not rest().of_type("AWS::ApiGateway::DomainName")
        elsewhere = rest(**DOMAIN)
        assert elsewhere.properties("ChatDomain")["RegionalCertificateArn"] == CERTIFICATE
        assert elsewhere.properties("ChatDomainMapping")["Stage"] == "<ChatApiv1Stage>"
        assert elsewhere.outputs["Url"] == "https://chat.example/"
        assert elsewhere.outputs["Try"].startswith("curl -N https://chat.example/chat ")
        assert elsewhere.outputs["DomainTarget"] == "<ChatDomain.RegionalDomainName>"
        assert not elsewhere.of_type("AWS::Route53::RecordSet")
        (record,) = rest(**DOMAIN, HostedZoneId="Z1").of_type("AWS::Route53::RecordSet").values()
        assert (record["Name"], record["AliasTarget"]["DNSName"]) == ("chat.example", "<ChatDomain.RegionalDomainName>")


class TestCloudFront:
    def distribution(self, **parameters: str) -> dict[str, Any]:
        found: dict[str, Any] = cloudfront(**parameters).properties("Distribution")["DistributionConfig"]
        return found

    def test_signs_every_request_for_lambda(self) -> None:
        access = cloudfront().properties("Access")["OriginAccessControlConfig"]
        assert (access["SigningBehavior"], access["SigningProtocol"]) == ("always", "sigv4")
        assert access["OriginAccessControlOriginType"] == "lambda"
        (origin,) = self.distribution()["Origins"]
        assert origin["OriginAccessControlId"] == "<Access.Id>"
        assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"

    def test_holds_nothing_back_and_keeps_nothing(self) -> None:
        """The ids of the managed policies are AWS's.

        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html
        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-origin-request-policies.html
        """
        behavior = self.distribution()["DefaultCacheBehavior"]
        assert behavior["Compress"] is False
        assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "CachingDisabled"
        assert behavior["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac", "AllViewerExceptHostHeader"
        assert {"POST", "PATCH", "DELETE", "OPTIONS"} <= set(behavior["AllowedMethods"])

    def test_shows_no_caller_the_error_of_another(self) -> None:
        """Else it keeps errors for ten seconds, and heeds no `no-store` on them.

        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/custom-error-pages-expiration.html
        """
        kept_s = {e["ErrorCode"]: e["ErrorCachingMinTTL"] for e in self.distribution()["CustomErrorResponses"]}
        assert kept_s == dict.fromkeys((400, 403, 404, 405, 414, 500, 501, 502, 503, 504), 0)

    def test_waits_through_more_silence_than_there_is_between_two_heartbeats(self) -> None:
        from winterbourne.chat.settings import Settings

        heartbeat_s = Settings().stream.heartbeat_interval
        declared = source(template_of("cloudfront"))["Parameters"]["ResponseTimeout"]
        assert declared["MinValue"] > heartbeat_s
        assert self.distribution()["Origins"][0]["CustomOriginConfig"]["OriginReadTimeout"] == declared["Default"]

    def test_has_domain_firewall_and_record_if_they_are_named(self) -> None:
        assert not {"Aliases", "ViewerCertificate", "WebACLId"} & set(self.distribution())
        own = self.distribution(**DOMAIN, WebAclArn="the-acl")
        assert (own["Aliases"], own["WebACLId"]) == (["chat.example"], "the-acl")
        assert own["ViewerCertificate"]["AcmCertificateArn"] == CERTIFICATE
        (group,) = cloudfront(**DOMAIN, HostedZoneId="Z1").of_type("AWS::Route53::RecordSetGroup").values()
        assert [record["Type"] for record in group["RecordSets"]] == ["A", "AAAA"]

    def test_tells_the_chats_stack_which_distribution_to_let_in(self) -> None:
        pattern = source()["Parameters"]["CloudFrontDistributionArn"]["AllowedPattern"]
        assert re.fullmatch(pattern, cloudfront().outputs["Arn"])
        assert cloudfront().outputs["Url"] == "https://<Distribution.DomainName>/"
        assert cloudfront(**DOMAIN).outputs["Url"] == "https://chat.example/"

    def test_explains_every_parameter(self) -> None:
        assert all(declared["Description"] for declared in source(template_of("cloudfront"))["Parameters"].values())


@pytest.mark.parametrize("stack", [rest, cloudfront])
@pytest.mark.parametrize(
    ("parameters", "refusals"),
    [
        ({}, []),
        (DOMAIN, []),
        ({"DomainName": "chat.example"}, ["DomainName needs CertificateArn."]),
        ({"CertificateArn": CERTIFICATE}, ["CertificateArn and HostedZoneId need DomainName."]),
        ({**DOMAIN, "HostedZoneId": "Z1"}, []),
    ],
)
def test_a_domain_has_its_certificate(stack: Any, parameters: dict[str, str], refusals: list[str]) -> None:
    assert stack(**parameters).refusals == refusals


def snippet(first_line: str) -> dict[str, Any]:
    """A block of YAML on the page of other doors, by its first line."""
    (block,) = [b.text for b in blocks("docs/how-to/other-doors.md") if b.text.startswith(f"# {first_line}\n")]
    parsed: dict[str, Any] = yaml_parse(block)
    return parsed


def merged(template: Any, change: Any) -> Any:
    if not (isinstance(template, dict) and isinstance(change, dict)):
        return change
    return {**template, **{name: merged(template.get(name), value) for name, value in change.items()}}


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Stack]:
    """A door's template with a snippet of the page put into it."""

    def change(door: str, name: str, **parameters: str) -> Stack:
        (tmp_path / "template.yaml").write_text(json.dumps(merged(source(template_of(door)), snippet(name))))
        return Stack(tmp_path / "template.yaml", **parameters)

    return change


@pytest.mark.parametrize("door", ["url", "rest"])
def test_managed_instances_take_what_the_page_says(changed: Callable[..., Stack], door: str) -> None:
    stack = changed(door, "Managed Instances")
    function = stack.properties("ChatFunction")
    assert function["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"] == {
        "CapacityProviderArn": "<Instances.Arn>",
        "PerExecutionEnvironmentMaxConcurrency": 64,
        "ExecutionEnvironmentMemoryGiBPerVCpu": 2,
    }
    assert function["SnapStart"] == {"ApplyOn": "None"}
    assert not {"VpcConfig", "ReservedConcurrentExecutions", "ProvisionedConcurrencyConfig"} & set(function)
    assert function["MemorySize"] >= 2048
    (provider,) = stack.of_type("AWS::Lambda::CapacityProvider").values()
    assert provider["InstanceRequirements"]["Architectures"] == function["Architectures"]
    targets = {p["FunctionName"] for p in stack.of_type("AWS::Lambda::Permission").values()}
    assert targets == {"<ChatFunctionAliaslive>"}, "only a published version runs on instances"


def test_a_private_rest_api_takes_what_the_page_says(changed: Callable[..., Stack]) -> None:
    api = changed("rest", "A private REST API", Auth="iam").properties("ChatApi")
    (endpoint,) = api["EndpointConfiguration"]["VpcEndpointIds"]
    assert api["EndpointConfiguration"]["Types"] == ["PRIVATE"]
    policy = json.dumps(api["Body"]["x-amazon-apigateway-policy"])
    assert f'"aws:SourceVpce": ["{endpoint}"]' in policy
    assert api["Body"]["paths"] == rest(Auth="iam").properties("ChatApi")["Body"]["paths"]


def test_the_stack_of_cloudfront_is_given_parameters_that_it_has() -> None:
    (command,) = [c for c in commands("docs/how-to/cloudfront.md") if "--parameter-overrides" in c.text]
    given = re.findall(r"(\w+)=", command.text.partition("--parameter-overrides")[2])
    assert given
    assert set(given) <= set(source(template_of("cloudfront"))["Parameters"])


PAGE = (ROOT / "docs/reference/doors.md").read_text()
MEASURED = re.compile(r"^\| \w[^|]*\| ([\d.]+) \| (\d+) ms \| ([\d,]+) \|$", re.MULTILINE)
CHATS = [
    door_cost.Chat(float(seconds), int(ms) / 1000, int(sent_bytes.replace(",", "")), memory_mb=50)
    for seconds, ms, sent_bytes in MEASURED.findall(PAGE)
]


class TestPrices:
    def test_are_of_chats_that_the_bench_measures(self) -> None:
        assert len(CHATS) == 2
        assert "the process took 50 MB" in PAGE
        assert f"{bench_cost.WORDS_PER_S} words a second, plus {bench_cost.FIRST_TOKEN_S} s" in PAGE.replace("\n", " ")

    def test_follow_from_what_was_measured_and_the_rates(self) -> None:
        rows = re.findall(r"^\| (\w[^|]*) \|((?: \$[\d.,]+ \|){4})$", PAGE, re.MULTILINE)
        assert dict(rows) == {
            name: "".join(f" ${door.dollars(chat, n):,.2f} |" for chat in CHATS for n in (1000, 1_000_000))
            for name, door in door_cost.DOORS.items()
        }

    def test_say_from_how_many_chats_on_a_host_that_idles_is_cheaper(self) -> None:
        url = door_cost.DOORS["function URL"]
        for name in ("Managed Instances", "two containers on Fargate"):
            millions = [door_cost.DOORS[name].cheaper_from(url, chat) / 1e6 for chat in CHATS]
            found = re.search(rf"{name.split()[1]}\b[^.]*? from ([\d.]+) million[^.]*?, or ([\d.]+) million", PAGE)
            assert found
            assert [float(number) for number in found.groups()] == [round(number, 1) for number in millions]
        share = 1e6 * CHATS[1].cpu_s / (door_cost.HOURS * 3600)
        assert f"A million long chats in a month take {share:.0%} of one core" in PAGE

    def test_come_from_these_rates_and_say_which_are_not_confirmed(self) -> None:
        rows = re.findall(
            r"^\| (\w[^|]*) \| ([\d.]+) \| <(https://aws\.amazon\.com/\S+)> \| (\w+) \|$", PAGE, re.MULTILINE
        )
        assert [(unit, float(dollars), page, seen) for unit, dollars, page, seen in rows] == [
            (rate.unit, rate.dollars, rate.page, rate.source) for rate in door_cost.RATES.values()
        ]


class TestDoor:
    """How `tests/bench/door_cost` computes."""

    CHAT = door_cost.Chat(seconds=10, cpu_s=0.1, sent_bytes=25_000_000, memory_mb=100)

    def test_costs_what_lambda_bills_for_the_time_that_a_stream_is_open(self) -> None:
        of_function = bench_cost.cost(10, door_cost.MEMORY_MB, chats=1)
        assert door_cost.DOORS["function URL"].of_chat(self.CHAT) == pytest.approx(of_function + 0.025 * 0.09)

    def test_of_a_rest_api_costs_a_call_for_each_10_mb_begun(self) -> None:
        more = door_cost.DOORS["REST API"].of_chat(self.CHAT) - door_cost.DOORS["function URL"].of_chat(self.CHAT)
        assert more == pytest.approx(3 * 3.50e-6)

    def test_that_idles_costs_its_month_and_is_cheaper_from_where_both_cost_the_same(self) -> None:
        url, instances = door_cost.DOORS["function URL"], door_cost.DOORS["Managed Instances"]
        assert instances.dollars(self.CHAT, 0) == pytest.approx(3 * 0.0816 * 1.15 * 730)
        chats = instances.cheaper_from(url, self.CHAT)
        assert instances.month + chats * instances.of_chat(self.CHAT) == pytest.approx(chats * url.of_chat(self.CHAT))
