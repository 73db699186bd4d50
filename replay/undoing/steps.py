"""What taking back changes, path by path, in an order in which every tree between is one that can be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from replay.difference import Difference
from replay.undoing.reversal import Reversal

# First what makes room.
_ORDER = ("deleted", "renamed", "added", "mode", "modified")


def steps(reversals: Sequence[Reversal], unsettled: Collection[str]) -> list[Difference]:
    """What reversals change, once a path.

    Args:
        reversals: of different files, of which no two shall stand at one path.
        unsettled: paths with changes that did not fit together: no rename leads from or to them.
    """
    before = {each.now.resource: each.now.entry for each in reversals if each.now is not None}
    after = {each.then.resource: each.then.entry for each in reversals if each.then is not None}
    found = []
    for each in reversals:
        if each.now is None or each.then is None or each.now.resource == each.then.resource:
            continue
        source, target = each.now.resource, each.then.resource
        # Where names are swapped, each path is told for itself: there is no order in which each rename finds its file.
        if source not in after and target not in before and not {source, target} & {*unsettled}:
            found.append(Difference(target, before.pop(source), after.pop(target), source))
    found += [Difference(resource, before.get(resource), after.get(resource)) for resource in {**before, **after}]
    changed = [each for each in found if each.before != each.after or each.renamed_from]
    return sorted(changed, key=lambda each: (_ORDER.index(each.kind), each.resource))
