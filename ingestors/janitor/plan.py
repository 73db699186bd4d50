"""What the janitor would do, and what came of it, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

STORES = ("clickhouse", "ledger", "stream", "archive")


@dataclass(frozen=True, slots=True)
class Share:
    """What goes of one tenant in one store.

    Args:
        tenant: whose it is; empty for what belongs to none.
        items: events; in the stream messages, in the archive objects.
        until_us: when the log took the last of it, microseconds since 1970; 0 where there is none.
    """

    tenant: str
    items: int
    until_us: int = 0


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What goes of one store.

    Args:
        store: one of STORES.
        shares: by tenant.
        size_bytes: about how much room it takes.
        held: why something stays that is old enough, a sentence each.
    """

    store: str
    shares: tuple[Share, ...] = ()
    size_bytes: int = 0
    held: tuple[str, ...] = ()

    @property
    def items(self) -> int:
        """How much of it goes, of all tenants."""
        return sum(share.items for share in self.shares)

    @property
    def until_us(self) -> int:
        """When the log took the last of what goes; 0 where nothing goes."""
        return max((share.until_us for share in self.shares if share.items), default=0)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "store": self.store,
            "items": self.items,
            "bytes": self.size_bytes,
            "until_us": self.until_us,
            "tenants": {share.tenant: share.items for share in self.shares if share.items},
            "held": list(self.held),
        }


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one store: its size is measured before and after, whatever else went on meanwhile."""

    store: str
    items: int
    before_bytes: int
    after_bytes: int
    held: tuple[str, ...] = ()

    @property
    def freed_bytes(self) -> int:
        """How much room was given back; below 0 where more was landed meanwhile."""
        return self.before_bytes - self.after_bytes

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "held": list(self.held), "freed_bytes": self.freed_bytes}


@dataclass(frozen=True, slots=True)
class Report:
    """What one round did.

    Args:
        stores: what came of each.
        checked: how many objects of the archive were read and found good in this round.
    """

    stores: tuple[Done, ...] = ()
    checked: int = 0

    @property
    def freed_bytes(self) -> int:
        """How much room was given back in all."""
        return sum(done.freed_bytes for done in self.stores)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "stores": [done.document() for done in self.stores],
            "checked_objects": self.checked,
            "freed_bytes": self.freed_bytes,
        }


@dataclass(slots=True)
class Tally:
    """Adds up shares by tenant."""

    _items: dict[str, int] = field(default_factory=dict)
    _until_us: dict[str, int] = field(default_factory=dict)

    def add(self, tenant: str, items: int, until_us: int = 0) -> None:
        """Counts more of a tenant."""
        self._items[tenant] = self._items.get(tenant, 0) + items
        self._until_us[tenant] = max(self._until_us.get(tenant, 0), until_us)

    def shares(self) -> tuple[Share, ...]:
        """Every tenant's, by name."""
        return tuple(Share(tenant, self._items[tenant], self._until_us[tenant]) for tenant in sorted(self._items))


def by_store(plans: Iterable[StorePlan]) -> Mapping[str, StorePlan]:
    """The same, by the store's name."""
    return {plan.store: plan for plan in plans}
