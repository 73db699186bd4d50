"""How long events stay at hand: one policy for the log, the ledger and ClickHouse. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nervous_system.errors import ContractError, SettingsError
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

DAY_US = 24 * 3600 * 1_000_000
KEEP_ALL = 0
# Everything is younger than this: nothing of it goes.
NEVER_US = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """After how many days events leave the hot stores; 0 keeps all.

    Args:
        days: of tenants that are not named.
        by_tenant: of those that are.
    """

    days: int = KEEP_ALL
    by_tenant: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """The policy in the settings; raises SettingsError where it cannot be read."""
        if settings.hot_days < 0:
            raise SettingsError(f"ENCHANTED_HOT_DAYS={settings.hot_days} is below 0, which keeps all.")
        return cls(settings.hot_days, dict(_tenant_days(settings.hot_days_by_tenant)))

    @property
    def removes(self) -> bool:
        """Whether anything ever goes."""
        return bool(self.days or any(self.by_tenant.values()))

    @property
    def tenants(self) -> list[str]:
        """Those that are named, sorted."""
        return sorted(self.by_tenant)

    def days_of(self, tenant: str) -> int:
        """After how many days a tenant's events go; KEEP_ALL for never."""
        return self.by_tenant.get(tenant, self.days)

    def cutoff_us(self, tenant: str, now_us: int) -> int:
        """What the log took before this moment goes, microseconds since 1970; NEVER_US where all stays."""
        days = self.days_of(tenant)
        return max(now_us - days * DAY_US, NEVER_US) if days else NEVER_US

    def cutoffs_us(self, now_us: int) -> set[int]:
        """The different cutoffs that there are, for whichever tenant."""
        named = {self.cutoff_us(tenant, now_us) for tenant in self.by_tenant}
        return named | {self.cutoff_us("", now_us)}


def _tenant_days(text: str) -> Iterable[tuple[str, int]]:
    for pair in filter(None, map(str.strip, text.split(","))):
        tenant, _, days = (part.strip() for part in pair.partition("="))
        if not _is_tenant(tenant) or not days.isdecimal():
            raise SettingsError(
                f"ENCHANTED_HOT_DAYS_BY_TENANT: {pair!r} is not tenant=days, such as acme=30; 0 days keep all."
            )
        yield tenant, int(days)


def _is_tenant(text: str) -> bool:
    try:
        ProjectName.parse(f"{text}/any")
    except ContractError:
        return False
    return True
