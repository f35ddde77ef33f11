"""The files in which users have said what filters do, as JSON and back."""

from probes.written import Lines, WrittenAction, WrittenProfile, WrittenRule
from reports.results.fields import Fields


def to_json(file: WrittenProfile) -> dict[str, object]:
    """A file as plain data."""
    default = file.default
    return {
        "path": file.path,
        "sha256": file.sha256,
        "untold": file.untold,
        "default": default and {"action": default.name, "lines": _lines_to_json(default.lines)},
        "architectures": file.architectures and _lines_to_json(file.architectures),
        "rules": [
            {
                "action": rule.action,
                "lines": _lines_to_json(rule.lines),
                "conditional": rule.is_conditional,
                "calls": [{"name": name, "line": line} for name, line in rule.calls],
            }
            for rule in file.rules
        ],
    }


def _lines_to_json(lines: Lines) -> dict[str, int]:
    return {"first": lines.first, "last": lines.last}


def from_fields(fields: Fields) -> WrittenProfile:
    """The file that ``to_json`` was given.

    Raises:
        BadInputError: it is none, or damaged.
    """
    fields.only("path", "sha256", "untold", "default", "architectures", "rules")
    default = fields.child_or_none("default")
    architectures = fields.child_or_none("architectures")
    return WrittenProfile(
        path=fields.text("path"),
        sha256=fields.digest("sha256"),
        untold=fields.text("untold"),
        default=None if default is None else _action(default),
        architectures=None if architectures is None else _lines(architectures),
        rules=tuple(map(_rule, fields.children("rules"))),
    )


def _action(fields: Fields) -> WrittenAction:
    fields.only("action", "lines")
    return WrittenAction(fields.text("action"), _lines(fields.child("lines")))


def _rule(fields: Fields) -> WrittenRule:
    fields.only("action", "lines", "conditional", "calls")
    calls = [one.only("name", "line") for one in fields.children("calls")]
    return WrittenRule(
        action=fields.text("action"),
        lines=_lines(fields.child("lines")),
        calls=tuple((one.text("name"), line_of(one, "line")) for one in calls),
        is_conditional=fields.flag("conditional"),
    )


def _lines(fields: Fields) -> Lines:
    fields.only("first", "last")
    return Lines(line_of(fields, "first"), line_of(fields, "last"))


def line_of(fields: Fields, name: str) -> int:
    """A line's number, from 1.

    Raises:
        BadInputError: it is none.
    """
    found = fields.number(name)
    if not found:
        raise fields.refusal(name, "is out of range")
    return found
