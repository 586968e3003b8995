"""Does and reads on AWS, by boto3, what a measurement needs of the account: an implementation of `deployment.Aws`.

What it changes it changes back, also when it is interrupted, and only in the stack that `stack` has made.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from winterbourne.local.doctor.on_aws import ALARM, Stack
from winterbourne.local.verify.deployment import Report, Rollback

__all__ = ["DENIAL", "Account"]

DENIAL: Final = "winterbourne-verify-denies"
"""The inline policy that takes rights away from the function's role for a while."""

_LOG_WAIT_S: Final = 120
_LOG_EVERY_S: Final = 2
"""How long a line may take to be found in the log, and how often it is looked for; AWS throttles who never rests:

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
"""

# A public URL needs both, each under its condition: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
_CONDITIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "lambda:InvokeFunctionUrl": {"FunctionUrlAuthType": "NONE"},
    "lambda:InvokeFunction": {"InvokedViaFunctionUrl": True},
}


class Account:
    """What AWS does and tells of one stack.

    Args:
        stack: The stack under measurement.
        deploy: Deploys it anew with the template's parameters changed as given.
        fail: Deploys another one that has to fail, and returns what became of it.
        clock: Monotonic time in seconds.
        sleep: Waits this many seconds.
    """

    def __init__(
        self,
        stack: Stack,
        deploy: Callable[[Mapping[str, str]], None],
        fail: Callable[[], Rollback],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stack, self._deploy, self.fail_first_deployment = stack, deploy, fail
        self._clock, self._sleep = clock, sleep
        self._snap_start, self._rounds = False, itertools.count(1)

    def reports(self, request_ids: Sequence[str]) -> Sequence[Report]:
        """The `platform.report` lines of these invocations, waited for up to two minutes; see `Aws`.

        https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html#platform-report
        """
        until, wanted = self._clock() + _LOG_WAIT_S, set(request_ids)
        while True:
            found = {each.request_id: each for each in self._all_reports() if each.request_id in wanted}
            if found.keys() == wanted or self._clock() >= until:
                return [found[name] for name in request_ids if name in found]
            self._sleep(_LOG_EVERY_S)

    def _all_reports(self) -> Iterator[Report]:
        log = self._client("logs").get_paginator("filter_log_events")
        pages = log.paginate(logGroupName=self._id("ChatLog"), filterPattern='"platform.report"')
        for event in pages.search("events"):
            line = json.loads(event["message"])
            if line.get("type") == "platform.report":
                yield _report(line["record"])

    def renew(self, *, snap_start: bool) -> str:
        """Have the next request start a new environment: a changed configuration, or version, has none yet.

        https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
        """
        if snap_start == self._snap_start:
            self._change_configuration()
        else:
            self._deploy(
                {"SnapStart": "PublishedVersions" if snap_start else "None", "Release": f"{next(self._rounds)}"}
            )
            self._snap_start = snap_start
        return self._stack.outputs()["Url"].rstrip("/")

    def _change_configuration(self) -> None:
        client, name = self._client("lambda"), {"FunctionName": self._id("ChatFunction")}
        variables = client.get_function_configuration(**name)["Environment"]["Variables"]
        changed = {**variables, "VERIFY_ROUND": str(next(self._rounds))}
        client.update_function_configuration(**name, Environment={"Variables": changed})
        client.get_waiter("function_updated_v2").wait(**name)
        if self._snap_start:
            version = client.publish_version(**name)["Version"]
            client.get_waiter("published_version_active").wait(**name, Qualifier=version)
            client.update_alias(**name, Name="live", FunctionVersion=version)

    def metric_sum(self, name: str, start: datetime, end: datetime, *, namespace: str = "Winterbourne") -> float | None:
        """The sum of a metric; see `Aws`.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html
        """
        of_lambda = {"Name": "FunctionName", "Value": self._id("ChatFunction")}
        of_chat = {"Name": "service", "Value": self._stack.name}
        found = self._client("cloudwatch").get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[of_lambda if namespace == "AWS/Lambda" else of_chat],
            StartTime=start,
            EndTime=end,
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in found) if found else None

    def alarm_states(self) -> Mapping[str, str]:
        """The state of each alarm of the stack; see `Aws`."""
        names = [*self._stack.physical_ids(ALARM).values()]
        found = self._client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"] if names else []
        return {each["AlarmName"].removeprefix(f"{self._stack.name}-"): each["StateValue"] for each in found}

    def alarms_fired(self, since: datetime) -> Sequence[str]:
        """The alarms that went into ALARM; see `Aws`.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_AlarmHistoryItem.html
        """
        return [name for name in self.alarm_states() if "ALARM" in self._states(f"{self._stack.name}-{name}", since)]

    def _states(self, alarm: str, since: datetime) -> Iterator[str]:
        """The states that an alarm has come into."""
        history = self._client("cloudwatch").get_paginator("describe_alarm_history")
        pages = history.paginate(AlarmName=alarm, HistoryItemType="StateUpdate", StartDate=since)
        for item in pages.search("AlarmHistoryItems"):
            yield json.loads(item["HistoryData"])["newState"]["stateValue"]

    @contextmanager
    def without_url_permission(self, action: str) -> Iterator[None]:
        """Take a permission of the URL away, and give it back; see `Aws`."""
        client, target = self._client("lambda"), {"FunctionName": self._id("ChatFunction")}
        target |= {"Qualifier": "live"} if self._snap_start else {}
        statements = json.loads(client.get_policy(**target)["Policy"])["Statement"]
        statement = {"StatementId": next(each["Sid"] for each in statements if each["Action"] == action)}
        client.remove_permission(**target, **statement)
        try:
            yield
        finally:
            client.add_permission(**target, **statement, Action=action, Principal="*", **_CONDITIONS[action])

    @contextmanager
    def denied(self, *actions: str) -> Iterator[None]:
        """Take rights away from the function, and give them back; see `Aws`. IAM takes some seconds for each."""
        client, policy = self._client("iam"), {"RoleName": self._id("ChatRole"), "PolicyName": DENIAL}
        statement = {"Effect": "Deny", "Action": list(actions), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        client.put_role_policy(**policy, PolicyDocument=document)
        try:
            yield
        finally:
            client.delete_role_policy(**policy)

    @contextmanager
    def concurrency(self, limit: int) -> Iterator[None]:
        """Reserve concurrency for the function, and then what was reserved before; see `Aws`."""
        client, name = self._client("lambda"), {"FunctionName": self._id("ChatFunction")}
        before = client.get_function_concurrency(**name).get("ReservedConcurrentExecutions")
        client.put_function_concurrency(**name, ReservedConcurrentExecutions=limit)
        try:
            yield
        finally:
            if before is None:
                client.delete_function_concurrency(**name)
            else:
                client.put_function_concurrency(**name, ReservedConcurrentExecutions=before)

    def _client(self, service: str) -> Any:
        return self._stack.client(service)

    def _id(self, logical_id: str) -> str:
        return self._stack.physical_ids()[logical_id]


def _report(record: Mapping[str, Any]) -> Report:
    metrics = record["metrics"]
    return Report(
        record["requestId"],
        metrics["durationMs"],
        metrics.get("initDurationMs"),
        metrics.get("restoreDurationMs"),
        int(metrics.get("maxMemoryUsedMB", 0)),
    )
