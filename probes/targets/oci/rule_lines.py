"""Where the rules of a seccomp profile stand in its file, for whoever is to mend one there.

What the rules mean is not asked here. A file of which that cannot be told has no lines, with the
reason.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from probes.documents import located
from probes.documents.located import Located, UnlocatedError
from probes.written import Lines, WrittenAction, WrittenProfile, WrittenRule

_CONDITIONS: Final = ("args", "includes", "excludes")


def of_program(path: Path, raw: bytes) -> WrittenProfile:
    """The file of a raw program, which has no lines.

    Args:
        path: the file, as it was named.
        raw: its bytes.
    """
    return WrittenProfile(str(path), hashlib.sha256(raw).hexdigest())


def of_profile(path: Path, raw: bytes) -> WrittenProfile:
    """The file of a profile, of a bundle's configuration, or of a SeccompProfile of Kubernetes.

    What begins like none of these is taken for a program, which bwrap gets.

    Args:
        path: the file, as it was named.
        raw: its bytes.
    """
    found = of_program(path, raw)
    is_json = _is_json(raw)
    if not is_json and not _is_text(raw):
        return found
    try:
        roots = (located.of_json(raw),) if is_json else located.of_yaml(raw)
    except UnlocatedError as error:
        return replace(found, untold=str(error))
    # Of several objects the first one decides: what the others say is the same file's, too.
    profiles = [one for root in roots for one in _profiles(root)]
    if not profiles:
        return replace(found, untold="no profile was found in it")
    return replace(
        found,
        default=next(filter(None, map(_default, profiles)), None),
        architectures=next(filter(None, map(_architectures, profiles)), None),
        rules=tuple(rule for each in profiles for rule in _rules(each)),
    )


def _is_json(raw: bytes) -> bool:
    return raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"["}


def _is_text(raw: bytes) -> bool:
    """Whether it may be YAML: a program has zero bytes in every instruction but the rarest."""
    return b"\0" not in raw


def _profiles(root: Located) -> Iterator[Located]:
    """The profiles of a document: itself, a bundle's, an object's, or those of a list of these."""
    if (linux := root.get("linux")) is not None:
        if (seccomp := linux.get("seccomp")) is not None:
            yield seccomp
    elif (spec := root.get("spec")) is not None:
        yield spec
    elif (items := root.get("items")) is not None:
        for one in items.items:
            yield from _profiles(one)
    elif root.members is not None:
        yield root


def _default(profile: Located) -> WrittenAction | None:
    found = profile.get("defaultAction")
    return None if found is None else WrittenAction(found.text, found.lines)


def _architectures(profile: Located) -> Lines | None:
    found = profile.get("architectures") or profile.get("archMap")
    return None if found is None else found.lines


def _rules(profile: Located) -> Iterator[WrittenRule]:
    listed = profile.get("syscalls")
    for rule in listed.items if listed is not None else ():
        action, names, name = rule.get("action"), rule.get("names"), rule.get("name")
        calls = [*(names.items if names is not None else ()), *([name] if name is not None else [])]
        yield WrittenRule(
            action=action.text if action is not None else "",
            lines=rule.lines,
            calls=tuple((one.text, one.lines.first) for one in calls if one.text),
            is_conditional=any(_is_filled(rule.get(key)) for key in _CONDITIONS),
        )


def _is_filled(value: Located | None) -> bool:
    return value is not None and bool(value.members or value.items)
