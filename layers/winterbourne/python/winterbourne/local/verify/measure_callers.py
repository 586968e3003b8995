"""Measures who may do what: pages of origins, callers with and without keys, the URL's permissions, the role."""

import json
from typing import Final, cast

from winterbourne.local.verify.asking import ask, frames, probe, question
from winterbourne.local.verify.client import Answer
from winterbourne.local.verify.deployment import Aws, Deployment, Figure, Verdict, failed, judge, not_measured

__all__ = ["cors", "keys", "role", "url_permissions"]

STRANGER: Final = "https://stranger.example"
PERMISSIONS: Final = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
SETTLES_S: Final = 180
"""How long a change of permissions may take to hold everywhere."""
EVERY_S: Final = 5
ALLOW: Final = "access-control-allow-origin"


def cors(deployment: Deployment) -> Verdict:
    """Preflights and answers for a page of an allowed origin and one of a stranger's."""
    if not deployment.origin:
        return not_measured("no origin is allowed")
    mine, theirs = (_preflight(deployment, origin) for origin in (deployment.origin, STRANGER))
    answer = question(deployment, origin=deployment.origin)
    methods, headers, exposed = (
        ",".join(each).lower()
        for each in (
            mine.header("access-control-allow-methods"),
            mine.header("access-control-allow-headers"),
            answer.header("access-control-expose-headers"),
        )
    )
    figures: dict[str, Figure] = {"preflight_status": mine.status, "answer_allows": ",".join(answer.header(ALLOW))}
    once = mine.header(ALLOW), answer.header(ALLOW)
    return judge(
        figures,
        (mine.status in {200, 204}, f"the preflight got {mine.status}"),
        (all(allowed in ([deployment.origin], ["*"]) for allowed in once), "the origin is not allowed exactly once"),
        (_has(methods, "post") and _has(headers, "content-type", "x-api-key"), "pages may not ask as they have to"),
        (_has(exposed, "x-request-id") or _has(exposed, "x-amzn-requestid"), "pages cannot read the request id"),
        (not {STRANGER, "*"} & {*theirs.header(ALLOW)}, "pages of a stranger may call"),
    )


def keys(deployment: Deployment) -> Verdict:
    """The status of a chat without a key, with a wrong one and with the right one."""
    if not deployment.api_key:
        return not_measured("there is no key")
    none, wrong = question(deployment, x_api_key=None), question(deployment, x_api_key=f"{deployment.api_key}-not")
    right = question(deployment)
    figures: dict[str, Figure] = {"without": none.status, "wrong": wrong.status, "right": right.status}
    is_answered = right.status == 200 and any(frame["type"] == "done" for frame in frames(right))
    return judge(
        figures,
        (none.status == 401, "who has no key was not refused"),
        (wrong.status == 401, "a wrong key was not refused"),
        (is_answered, "the right key was not answered"),
    )


def url_permissions(deployment: Deployment) -> Verdict:
    """Whether callers get a 403 with either permission taken away, and an answer with it back."""
    aws, figures = cast("Aws", deployment.aws), dict[str, Figure]()
    for action in PERMISSIONS:
        name = action.removeprefix("lambda:")
        with aws.without_url_permission(action):
            closed_s = deployment.wait(lambda: _healthz(deployment) == 403, EVERY_S, SETTLES_S)
        if closed_s is None:
            return failed(f"callers were answered without {action}", **figures)
        opened_s = deployment.wait(lambda: _healthz(deployment) == 200, EVERY_S, SETTLES_S)
        if opened_s is None:
            return failed(f"callers were not answered when {action} was back", **figures)
        figures |= {f"{name}_closed_s": round(closed_s), f"{name}_open_again_s": round(opened_s)}
    return judge(figures)


def role(deployment: Deployment) -> Verdict:
    """What AWS says to the function where it asks for what its role does not allow."""
    answer = probe(deployment, "role")
    if answer.status != 200:
        return failed(f"status {answer.status}")
    said: dict[str, str] = json.loads(answer.body)
    granted = [action for action, reason in said.items() if not reason.startswith("AccessDenied")]
    return judge(said, (bool(said), "AWS was not asked"), (not granted, f"not refused: {', '.join(granted)}"))


def _preflight(deployment: Deployment, origin: str) -> Answer:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    headers["access-control-request-headers"] = "content-type,x-api-key"
    return ask(deployment, "OPTIONS", "/chat", headers)


def _has(listed: str, *names: str) -> bool:
    """Whether a list of header values names all of these, or anything."""
    return "*" in listed or {*names} <= {each.strip() for each in listed.split(",")}


def _healthz(deployment: Deployment) -> int:
    return ask(deployment, "GET", "/healthz").status
