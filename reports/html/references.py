"""The errnos of a documented call, and its vulnerabilities and techniques with links."""

import re

from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.results import CallInfo

_ADDRESSES = (
    (r"CVE-[0-9]{4}-[0-9]{4,}", "https://www.cve.org/CVERecord?id={}"),
    (r"T[0-9]{4}", "https://attack.mitre.org/techniques/{}/"),
)
"""Where the identifiers of a policy are explained; others stay plain text."""


def answers(call: CallInfo) -> Markup:
    """The errnos that a refusal may answer; nothing where it is the profile's own."""
    if not call.errno:
        return NOTHING
    heading = element("strong", text("A refusal may answer. "))
    return element("p", heading, join(*map(code, call.errno), by=" or "), text("."))


def references(call: CallInfo) -> Markup:
    """The vulnerabilities and techniques of a call; nothing where none is known."""
    lines = (("Vulnerabilities", call.cves), ("ATT&CK techniques", call.attack))
    told = [_line(title, known) for title, known in lines if known]
    return element("p", join(*told, by=" "), class_="refs") if told else NOTHING


def _line(title: str, known: tuple[str, ...]) -> Markup:
    heading = element("strong", text(f"{title}. "))
    return join(heading, join(*map(_reference, known), by=", "), text("."))


def _reference(name: str) -> Markup:
    for pattern, address in _ADDRESSES:
        if re.fullmatch(pattern, name):
            return element("a", text(name), href=address.format(name), rel="noreferrer")
    return text(name)
