"""How the stack is right now: what the supervisor wrote down, checked against the living processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infrastructure.local.cleanup import running_supervisor
from infrastructure.local.components import Component, stack_components
from infrastructure.local.credentials import NAMES
from infrastructure.local.health import Health
from infrastructure.local.home import Home
from infrastructure.local.lag import sink_lags
from infrastructure.local.site import Site
from infrastructure.local.state import ChildState, Phase, StackState, read_object, read_state
from nervous_system.errors import SettingsError
from nervous_system.settings import Settings


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One component as a person asks for it; ``lag`` in messages, None where there is none to tell."""

    component: str
    address: str
    health: Phase
    reason: str
    pid: int | None
    restarts: int
    lag: int | None


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The stack; ``running`` where its supervisor lives."""

    home: Path
    running: bool
    components: tuple[ComponentStatus, ...] = ()

    @property
    def orphaned(self) -> bool:
        """Whether processes are left of a supervisor that was killed."""
        return not self.running and any(entry.pid for entry in self.components)

    @property
    def healthy(self) -> bool:
        return self.running and all(entry.health is Phase.RUNNING for entry in self.components)


def stack_status(home: Path) -> StackStatus:
    """Asks every component. Raises SettingsError where the folder cannot be read."""
    place = Home.at(home)
    state = read_state(place) if place.exists() else None
    if state is None:
        return StackStatus(place.root, running=False)
    running = running_supervisor(place) is not None
    if not running and not any(child.process and child.process.process() for child in state.children):
        return StackStatus(place.root, running=False)
    return StackStatus(place.root, running, _examine(place, state))


def _examine(home: Home, state: StackState) -> tuple[ComponentStatus, ...]:
    names = {child.name for child in state.children}
    components = [component for component in stack_components() if component.name in names]
    site = _site(home, components)
    sinks = [component.sink for component in components if component.sink]
    # The stack's own settings, whatever the environment names.
    lags = sink_lags(Settings.load({"ENCHANTED_HOME": str(home.root)}), sinks) if sinks else {}
    return tuple(_status(component, state.child(component.name), site, lags) for component in components)


def _site(home: Home, components: list[Component]) -> Site:
    ports, secrets = read_object(home.ports_file), read_object(home.secrets_file)
    wanted = {wish.name for component in components for wish in component.ports}
    if not (wanted <= ports.keys() and secrets.keys() >= set(NAMES)):
        raise SettingsError(
            f"{home.ports_file.name} or {home.secrets_file.name} was removed from {home.root} while the stack runs: "
            "run `enchanted down`, then `enchanted up`."
        )
    return Site(home, ports, secrets)


def _status(component: Component, child: ChildState, site: Site, lags: dict[str, int]) -> ComponentStatus:
    alive = child.process is not None and child.process.process() is not None
    health = component.probe(site) if alive else _absence(child)
    return ComponentStatus(
        component=component.name,
        address=component.address(site),
        health=health.phase,
        reason=health.reason,
        pid=child.process.pid if alive and child.process else None,
        restarts=child.restarts,
        lag=lags.get(component.sink),
    )


def _absence(child: ChildState) -> Health:
    """The health of a component without a process."""
    waiting = child.phase in {Phase.RESTARTING, Phase.STOPPED}
    return Health(child.phase, child.reason) if waiting else Health(Phase.RESTARTING, "its process has just ended")
