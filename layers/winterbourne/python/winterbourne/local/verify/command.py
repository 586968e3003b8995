"""`winterbourne verify`: deploys a stack of its own, measures what only AWS can settle, reports, and deletes it."""

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from winterbourne import __version__
from winterbourne.chat.errors import SettingsError
from winterbourne.local.doctor.on_aws import Stack, api_key
from winterbourne.local.verify.claims import CLAIMS, Claim
from winterbourne.local.verify.cost import Item, estimate
from winterbourne.local.verify.deployment import Deployment, not_measured
from winterbourne.local.verify.interrupt import Interrupted, Interrupts
from winterbourne.local.verify.on_aws import Account
from winterbourne.local.verify.report import Report, Result, exit_status
from winterbourne.local.verify.sam import Sam, SamFailed
from winterbourne.local.verify.stack import LASTS, Stacks, delete_stack, find_leftovers
from winterbourne.local.verify.template import TIMEOUT_S, own_parameters, read_template

__all__ = ["main"]

STDOUT: Final = 1

DESCRIPTION: Final = """\
Deploy a stack of its own with the stage's processor, memory and origins, a scripted model and none of its secrets,
measure on it every claim that only AWS can settle, write a report with a verdict for each, and delete the stack, also
after Ctrl-C. What it costs is said, and asked for, before anything is made. It needs AWS credentials, which may create
what template.yaml has, and `sam`."""

# So that a moment in which AWS throttles the account costs neither a claim nor the deletion:
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
_PATIENT: Final = Config(retries={"mode": "standard", "total_max_attempts": 10})

_DEPLOYS_S: Final = 1500
"""About how long it takes to build, to deploy and to delete."""


class CannotRun(ValueError):
    """Nothing was made; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify, and print what goes on.

    Returns:
        0 if every claim is proved; 1 if one failed, and whatever else happened if a stack could not be deleted; 2 if it
        cannot run or deploy, with the reason; 3 if none failed and some could not be measured; 128 and the signal's
        number if it was interrupted.
    """
    args = _parse(arguments)
    if args.list:
        _say("\n".join(f"{claim.id:<26} {claim.title}" for claim in CLAIMS))
        return 0
    try:
        return _run(args)
    except KeyboardInterrupt:  # before anything was made
        return 130
    except NoCredentialsError:
        reason = "no AWS credentials found: export AWS_PROFILE=…, or aws sso login"
    except NoRegionError:
        reason = "no AWS region is configured: name one with --region"
    except ModuleNotFoundError as error:  # of sam, which is imported only where it is needed
        reason = f"{error.name} is not installed: winterbourne[dev] brings it"
    except (SamFailed, SettingsError, OSError, ValueError, BotoCoreError, ClientError) as error:
        reason = str(error)
    sys.stderr.write(f"winterbourne verify: {reason}\n")
    return 2


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="winterbourne verify", description=DESCRIPTION, formatter_class=as_written)
    parser.add_argument("--stage", default="dev", help="the stage of samconfig.toml (default: dev)")
    parser.add_argument("--parameters", default="", help="parameters beside the stage's, as `make deploy` takes them")
    parser.add_argument("--region", default="", help="AWS region (default: the stage's, or the AWS configuration's)")
    parser.add_argument("--only", default="", metavar="CLAIM,…", help="measure these claims alone; --list names them")
    parser.add_argument("--list", action="store_true", help="print the claims, and do nothing else")
    parser.add_argument("--yes", action="store_true", help="ask nothing: it may cost what it costs")
    parser.add_argument("--keep", action="store_true", help="do not delete the stack at the end")
    parser.add_argument("--leftovers", action="store_true", help="offer to delete what earlier runs left, and end")
    text = "the report's files, without their ending (default: winterbourne-verify, for .md, .json and .log)"
    parser.add_argument("--report", type=Path, default=Path("winterbourne-verify"), metavar="FILE", help=text)
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    claims: Sequence[Claim]
    template: Mapping[str, Any]
    parameters: Mapping[str, str]
    door: str

    @property
    def seconds(self) -> float:
        """How long it takes, roughly."""
        return _DEPLOYS_S + sum(claim.lasts_s for claim in self.claims)


def _run(args: argparse.Namespace) -> int:
    stage = _stage(args.stage)
    # As `sam deploy` does for the stage; in the environment, so that `sam` and boto3 have the same.
    os.environ.update({"AWS_PROFILE": str(stage["profile"])} if stage.get("profile") else {})
    project, session = Path.cwd(), boto3.Session(region_name=args.region or stage.get("region"))
    client: Callable[[str], Any] = cache(partial(session.client, config=_PATIENT))
    if not (program := shutil.which("sam") or shutil.which("sam", path=str(Path(sys.executable).parent))):
        raise CannotRun("sam is not installed: winterbourne[dev] brings it")
    sam = Sam(program, project, args.report.absolute().with_suffix(".log"), lambda line: _say(f"      {line}"))
    plan = _plan(args, project)
    account = client("sts").get_caller_identity()["Account"]
    _offer_leftovers(args, sam, client, session.region_name)
    if args.leftovers:
        return 0
    _announce(plan, account, session.region_name)
    if not (args.yes or _agreed("Go on?")):
        raise CannotRun("nothing was made, since nobody agreed; --yes agrees")
    sam.log.write_text("", encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="winterbourne-") as scratch:
        stacks = Stacks(sam, client, session.region_name, Path(scratch), plan.template, plan.parameters, _say)
        return _Verification(args, plan, stacks).run()


def _stage(stage: str) -> dict[str, Any]:
    """What samconfig.toml says of deploying a stage."""
    from samcli.lib.config.samconfig import SamConfig  # noqa: PLC0415 - so that --help and --list need no sam

    config = SamConfig(".")
    if stage not in (stages := config.get_stage_configuration_names() if config.exists() else []):
        raise CannotRun(f"there is no stage {stage} in samconfig.toml; there are: {' '.join(stages) or 'none'}")
    return dict(config.get_all(["deploy"], "parameters", stage))


def _plan(args: argparse.Namespace, project: Path) -> Plan:
    from winterbourne.local.sam_parameters import stage_parameters  # noqa: PLC0415 - as above

    template = read_template(project / "template.yaml")
    door = str(template.get("Metadata", {}).get("Winterbourne", {}).get("Door", "url"))
    wanted = args.only.split(",") if args.only else [claim.id for claim in CLAIMS]
    if unknown := set(wanted) - {claim.id for claim in CLAIMS}:
        raise CannotRun(f"there is no claim {', '.join(sorted(unknown))}; --list names them")
    if not (claims := [claim for claim in CLAIMS if claim.id in wanted and door in claim.doors]):
        raise CannotRun(f"none of these claims concerns the door {door}")
    return Plan(claims, template, own_parameters(template, stage_parameters(args.stage, args.parameters)), door)


def _offer_leftovers(args: argparse.Namespace, sam: Sam, client: Callable[[str], Any], region: str) -> None:
    for left in find_leftovers(client):
        is_over = left.until < datetime.now(UTC)
        when = f"{'was' if is_over else 'will be'} over by {left.until:%Y-%m-%d %H:%M} UTC"
        _say(f"The stack {left.name} is of a run that {when}.")
        if (is_over and args.yes) or ((is_over or args.leftovers) and _agreed("Delete it?")):
            delete_stack(sam, client, left.name, region)


def _announce(plan: Plan, account: str, region: str) -> None:
    memory_mb = int(plan.parameters["MemorySize"])
    snap_start = any(claim.id == "cold-starts-snapstart" for claim in plan.claims)
    times = plan.seconds, LASTS.total_seconds()
    items, most = (estimate(plan.template, memory_mb, each, snap_start=snap_start) for each in times)
    about = f"in about {plan.seconds / 60:.0f} minutes, in {region}, account {account}"
    _say(f"{len(plan.claims)} claims are measured {about}.")
    cost, at_most = _dollars(items), f"${_dollars(most):.2f} if it takes the {LASTS.seconds // 3600} hours it may"
    _say(f"It costs about ${cost:.2f}, and {at_most}, by the prices of US East (N. Virginia):")
    for item in (each for each in items if each.amount):
        price = f"{item.price:.10f}".rstrip("0").rstrip(".")
        _say(f"  ${item.dollars:.4f}  {item.amount:,.6g} {item.what} at ${price}")


def _dollars(items: Sequence[Item]) -> float:
    return sum(item.dollars for item in items)


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    with suppress(EOFError):
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    return False


class _Verification:
    """One run, from the first deployment to the deletion."""

    def __init__(self, args: argparse.Namespace, plan: Plan, stacks: Stacks) -> None:
        self._args, self._plan, self._stacks = args, plan, stacks
        self._stack = Stack(stacks.name, stacks.client)
        about = {"version": __version__, "stage": args.stage, "door": plan.door, "region": stacks.region}
        about |= {"stack": stacks.name, "parameters": dict(plan.parameters), "started": _now()}
        self._report = Report(about, left=[stacks.name])

    def run(self) -> int:
        """Deploy, measure, delete, report."""
        reason = ""
        with Interrupts(
            lambda: _say("The stack is being deleted, which takes some minutes; please wait.")
        ) as interrupts:
            # At most one exception comes from a signal, so that the deletion is reached whenever it comes.
            try:
                try:
                    reason = self._measure()
                finally:
                    interrupts.hold()
            except Interrupted:
                reason = "the run was interrupted"
            finally:
                self._tidy(reason)
        is_left = bool(self._report.left) and not self._args.keep
        if interrupts.number and not is_left:
            return 128 + interrupts.number
        return 2 if reason and not is_left else exit_status(self._report, kept=self._args.keep)

    def _measure(self) -> str:
        """Measure all claims; returns why none could be, if so."""
        try:
            _say(f"Building and deploying the stack {self._stacks.name}.")
            self._stacks.build()
            self._stacks.deploy()
        except (SamFailed, OSError) as error:
            _say(str(error))
            return "the stack could not be deployed"
        aws = Account(self._stack, self._stacks.deploy, self._stacks.fail_first_deployment)
        deployment = self._deployment(aws)
        until = time.monotonic() + LASTS.total_seconds()
        for claim in self._plan.claims:
            if time.monotonic() > until:
                return "the run took too long"
            self._check(claim, deployment)
        return ""

    def _deployment(self, aws: Account) -> Deployment:
        parameters = self._stacks.parameters
        return Deployment(
            url="",
            api_key=api_key(self._stack),
            token=self._stacks.token,
            timeout_s=TIMEOUT_S,
            memory_mb=int(parameters["MemorySize"]),
            door=self._plan.door,
            origin=parameters.get("AllowedOrigins", "").split(",")[0],
            aws=aws,
        )

    def _check(self, claim: Claim, deployment: Deployment) -> None:
        _say(f"Measuring {claim.id}, about {claim.lasts_s} s.")
        started = time.monotonic()
        try:
            # With a snapshot the URL is another.
            url = self._stack.outputs()["Url"].rstrip("/")
            verdict = claim.check(replace(deployment, url=url))
        except Exception as error:  # noqa: BLE001 - what broke here must not cost the other claims, which were paid for
            verdict = not_measured(f"{type(error).__name__}: {error}")
        self._report.results.append(Result(claim, verdict, time.monotonic() - started))
        _say(self._report.results[-1].line())
        self._write("the run was killed")

    def _tidy(self, reason: str) -> None:
        """Delete the stacks, or say how; then write the report for the last time."""
        self._report.left = self._stacks.delete(kept=self._stacks.name if self._args.keep else "")
        for name in self._report.left:
            by_hand = _by_hand(name, self._stacks.region, self._args.stage)
            _say(f"The stack {name} is still there, and costs money. To delete it: {by_hand}")
        self._write(reason)
        counts = ", ".join(f"{number} {state}" for state, number in self._report.counts().items())
        _say(f"{counts}. The report is in {self._args.report.with_suffix('.md')}.")

    def _write(self, reason: str) -> None:
        """Write the report as far as it is; a claim without a result has the reason."""
        done = {result.claim.id for result in self._report.results}
        verdict = not_measured(reason or "the run ended before")
        self._report.missing = [Result(claim, verdict) for claim in self._plan.claims if claim.id not in done]
        self._report.about["ended"] = _now()
        path, as_json = self._args.report, json.dumps(self._report.as_json(), indent=2)
        try:
            path.with_suffix(".json").write_text(f"{as_json}\n", encoding="utf-8")
            path.with_suffix(".md").write_text(self._report.as_markdown(), encoding="utf-8")
        except OSError as error:  # nothing may keep the stack from being deleted
            _say(f"the report cannot be written: {error}")


def _by_hand(name: str, region: str, stage: str) -> str:
    profile = f" --profile {shlex.quote(os.environ['AWS_PROFILE'])}" if os.environ.get("AWS_PROFILE") else ""
    ours = f"winterbourne verify --leftovers --stage {stage} --region {region}"
    return f"sam delete --no-prompts --stack-name {name} --region {region}{profile}, or {ours}"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _say(text: str) -> None:
    """Print a line. Unbuffered, so that a signal handler may call it; a terminal that is gone ends nothing."""
    with suppress(OSError):
        os.write(STDOUT, f"{text}\n".encode())
