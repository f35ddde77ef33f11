"""The survey of a whole machine as JSON and back."""

from dataclasses import fields as fields_of
from typing import Final

from probes.workload import OwnerKind, StackRow, Survey, WorkloadRow, WorkloadState
from reports.results.fields import Fields


def to_json(survey: Survey) -> dict[str, object]:
    """A survey as plain data."""
    return {
        "stacks": [
            {
                "name": one.name,
                "logged": list(one.logged),
                "processes": one.processes,
                "state": one.state.value,
            }
            for one in survey.stacks
        ],
        "workloads": [_workload_to_json(one) for one in survey.workloads],
        "others": survey.others,
        "kernel_threads": survey.kernel_threads,
        "zombies": survey.zombies,
    }


_NAME: Final = r"[0-9a-f]{12}"
_WORKLOAD: Final = tuple(one.name for one in fields_of(WorkloadRow))


def _workload_to_json(one: WorkloadRow) -> dict[str, object]:
    told = {name: getattr(one, name) for name in _WORKLOAD}
    words = {"kind": one.kind.value, "state": one.state.value}
    return {**told, **words, "stacks": list(one.stacks)}


def from_fields(fields: Fields) -> Survey:
    """The survey that ``to_json`` was given.

    Raises:
        BadInputError: it is none, or damaged.
    """
    fields.only("stacks", "workloads", "others", "kernel_threads", "zombies")
    stacks = tuple(_stack(one) for one in fields.children("stacks"))
    names = {one.name for one in stacks}
    workloads = tuple(_workload(one) for one in fields.children("workloads"))
    for one in workloads:
        if unknown := [name for name in one.stacks if name not in names]:
            raise fields.refusal("workloads", f"{unknown[0]!a} is no stack of the survey")
    return Survey(
        stacks,
        workloads,
        fields.number("others"),
        fields.number("kernel_threads"),
        fields.number("zombies"),
    )


def _stack(fields: Fields) -> StackRow:
    fields.only("name", "logged", "processes", "state")
    logged = fields.items("logged")
    if not all(isinstance(one, bool) for one in logged):
        raise fields.refusal("logged", "must hold true and false only")
    return StackRow(
        fields.pattern("name", _NAME),
        tuple(one is True for one in logged),
        fields.number("processes"),
        fields.member("state", WorkloadState),
    )


def _workload(fields: Fields) -> WorkloadRow:
    fields.only(*_WORKLOAD)
    return WorkloadRow(
        kind=fields.member("kind", OwnerKind),
        engine=fields.text("engine"),
        id=fields.text("id"),
        name=fields.text("name"),
        title=fields.text("title"),
        image=fields.text("image"),
        pod=fields.text("pod"),
        inside=fields.text("inside"),
        processes=fields.number("processes"),
        stacks=fields.texts("stacks"),
        required=fields.flag("required"),
        state=fields.member("state", WorkloadState),
        sentence=fields.text("sentence"),
    )
