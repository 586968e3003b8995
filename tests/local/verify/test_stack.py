"""The end of a stack: deleted whatever state it is in, and told if it is still there."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from tests.local.verify.account import REGION, SESSION
from winterbourne.local.verify import stack
from winterbourne.local.verify.sam import Sam, SamFailed

NAME = "winterbourne-verify-1"


class CloudFormation:
    """Botocore's own client, which answers by a script and takes only what AWS takes."""

    def __init__(self) -> None:
        self.client: Any = SESSION().client("cloudformation")
        self.stub = Stubber(self.client)
        self.stub.add_response("describe_stack_resources", {"StackResources": []}, {"StackName": NAME})

    def is_in(self, *statuses: str) -> None:
        for status in statuses:
            found = {"StackName": NAME, "StackStatus": status, "CreationTime": datetime.now(UTC)}
            self.stub.add_response("describe_stacks", {"Stacks": [found]}, {"StackName": NAME})

    def is_gone(self) -> None:
        words = f"Stack with id {NAME} does not exist"
        self.stub.add_client_error("describe_stacks", "ValidationError", words)

    def is_to_delete(self) -> None:
        self.stub.add_response("delete_stack", {}, {"StackName": NAME})


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormation]:
    monkeypatch.setattr(stack, "_POLL_S", 0)
    made = CloudFormation()
    with made.stub:
        yield made
        made.stub.assert_no_pending_responses()


@pytest.fixture
def sam(tmp_path: Path) -> Sam:
    """It cannot delete anything."""
    (program := tmp_path / "sam").write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return Sam(str(program), tmp_path, tmp_path / "log", lambda _: None)


def delete(cloudformation: CloudFormation, sam: Sam) -> None:
    stack.delete_stack(sam, lambda _: cloudformation.client, NAME, REGION)


def test_one_that_is_being_changed_is_deleted_when_that_is_done(cloudformation: CloudFormation, sam: Sam) -> None:
    cloudformation.is_in("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE")
    cloudformation.is_to_delete()
    cloudformation.is_in("DELETE_IN_PROGRESS")
    cloudformation.is_gone()
    delete(cloudformation, sam)


def test_one_whose_deployment_was_cut_short_before_it_was_made(cloudformation: CloudFormation, sam: Sam) -> None:
    cloudformation.is_in("REVIEW_IN_PROGRESS")
    cloudformation.is_to_delete()
    cloudformation.is_gone()
    delete(cloudformation, sam)


def test_the_one_that_has_to_fail_is_not_waited_for_if_it_was_never_made(sam: Sam, tmp_path: Path) -> None:
    client: Any = SESSION().client("cloudformation")
    made = stack.Stacks(sam, lambda _: client, REGION, tmp_path, {}, {}, print, name=NAME)
    (tmp_path / "build").mkdir()
    (tmp_path / "build/template.yaml").write_text('{"Resources": {"ChatFunction": {"Type": "AWS::Lambda::Function"}}}')
    found = {"StackName": NAME, "StackStatus": "REVIEW_IN_PROGRESS", "CreationTime": datetime.now(UTC)}
    with Stubber(client) as stub:
        stub.add_response("describe_stacks", {"Stacks": [found]}, {"StackName": f"{NAME}-fails"})
        stub.add_response("list_stack_resources", {"StackResourceSummaries": []}, {"StackName": f"{NAME}-fails"})
        assert made.fail_first_deployment().status == "REVIEW_IN_PROGRESS"


def test_without_a_sam_that_starts_cloudformation_deletes_it(cloudformation: CloudFormation, sam: Sam) -> None:
    Path(sam.program).unlink()
    cloudformation.is_in("CREATE_COMPLETE")
    cloudformation.is_to_delete()
    cloudformation.is_gone()
    delete(cloudformation, sam)


def test_one_that_cannot_be_deleted_is_tried_three_times_and_told(cloudformation: CloudFormation, sam: Sam) -> None:
    for _ in range(3):
        cloudformation.is_in("DELETE_FAILED")
        cloudformation.is_to_delete()
        cloudformation.is_in("DELETE_IN_PROGRESS")
    cloudformation.is_in("DELETE_FAILED")
    with pytest.raises(SamFailed, match=f"the stack {NAME} is still there, its status is DELETE_FAILED"):
        delete(cloudformation, sam)


def test_a_network_that_is_away_for_a_while_ends_nothing(
    cloudformation: CloudFormation, sam: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import EndpointConnectionError

    real, failures = stack._status, iter([True, True])

    def status(*arguments: Any) -> str:
        if next(failures, False):
            raise EndpointConnectionError(endpoint_url="https://cloudformation.example")
        return real(*arguments)

    monkeypatch.setattr(stack, "_status", status)
    cloudformation.is_gone()
    delete(cloudformation, sam)
