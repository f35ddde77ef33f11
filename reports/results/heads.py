"""What is known of a run before anything is judged, in the words of its record."""

from itertools import cycle
from pathlib import Path

from probes import environment, files
from probes.documents.policy import Policy
from reports.results.model import AuditSource, CallInfo, Environment, PolicyInfo


def environment_info(
    host: str | None,
    arches: tuple[str, ...],
    audit: AuditSource,
    shut: tuple[tuple[str, str], ...] = (),
) -> Environment:
    """This kernel and this process, as a record holds them.

    Args:
        host: what the record calls this machine; None where that is to be left out.
        arches: the ABIs that are asked.
        audit: where audit records come from.
        shut: the ABIs by which the kernel cannot be entered, each with what happened instead.
    """
    here = environment.read()
    return Environment(
        kernel=here.kernel,
        machine=here.machine,
        capabilities=here.capabilities,
        uid=here.uid,
        no_new_privs=here.no_new_privs,
        seccomp=here.seccomp,
        seccomp_filters=here.seccomp_filters,
        actions_logged=here.actions_logged,
        audit=audit,
        arches=arches,
        shut=shut,
        host=host,
    )


def policy_info(policy: Policy) -> PolicyInfo:
    """A policy, as a record holds it."""
    return PolicyInfo(
        name=policy.name,
        title=policy.title,
        sha256=policy.sha256,
        families=policy.families,
        path=files.in_repository(Path(policy.path)),
        calls=tuple(
            CallInfo(
                name=call.label,
                family=call.family,
                description=call.description,
                why=call.why,
                cves=call.cves,
                attack=call.attack,
                obsolete=call.obsolete,
                args=call.args,
                errno=call.errno,
                line=line,
            )
            for call, line in zip(policy.calls, policy.lines or cycle([None]), strict=False)
        ),
    )
