"""t"""

from winterbourne.local.verify.deployment import Deployment, Verdict, not_measured


def cors(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def keys(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def url_permissions(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")


def role(deployment: Deployment, **_: object) -> Verdict:
    return not_measured("")
