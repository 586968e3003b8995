"""t"""

from winterbourne.local.verify.deployment import Deployment, Verdict, not_measured


def first_byte(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def pace(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def small_chunks(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def bandwidth(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def terminal_frame(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def trailers(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def empty_bodies(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def deadline(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def timeout_before(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def timeout_after(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")
