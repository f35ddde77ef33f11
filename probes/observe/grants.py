"""Which calls somebody has granted to a workload, by the waivers. Pure."""

from collections.abc import Iterable, Sequence
from datetime import date

from probes.action import Profile
from probes.documents.waivers import Surroundings, Waiver
from probes.observe.findings import Grants, SeenCalls
from probes.observe.watch import Kind
from probes.text import shown


def grants(waivers: Sequence[Waiver], word: str, today: date) -> Grants:
    """What valid waivers grant.

    A waiver that is narrowed to one claim or to versions accepts a fault of the platform and grants
    nothing.

    Args:
        waivers: those of a file, the first of several being the one that counts.
        word: the workload, as their ``target`` matches it.
        today: the day in UTC.
    """
    valid = [one for one in _granting(waivers, word) if one.created <= today <= one.expires]

    def granted(call: str, abi: str, profile: Profile) -> str:
        for one in valid:
            if one.covers(call, abi) and one.profile in {None, profile}:
                return shown(f"until {one.expires} by {one.approver}: {one.reason}")
        return ""

    return granted


def not_valid(
    waivers: Sequence[Waiver], word: str, today: date, found: Iterable[SeenCalls]
) -> tuple[str, ...]:
    """A sentence for each waiver that would grant a call that was seen, were it not for the day."""
    seen = {(one.key.name, one.key.abi) for one in found if one.key.kind is Kind.DOCUMENTED}
    said = []
    for one in _granting(waivers, word):
        if not any(one.covers(*pair) for pair in seen) or one.created <= today <= one.expires:
            continue
        state = f"expired on {one.expires}" if one.expires < today else f"begins on {one.created}"
        said.append(shown(f"the waiver of {one} grants nothing: it {state}"))
    return tuple(said)


def _granting(waivers: Iterable[Waiver], word: str) -> list[Waiver]:
    unlimited = (one for one in waivers if one.is_within(Surroundings()))
    return [one for one in unlimited if one.is_for(word) and one.claim is None]
