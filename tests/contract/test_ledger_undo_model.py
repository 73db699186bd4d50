"""Taking back against an independent model: dictionaries in which every value belongs to one agent.

Each agent writes between its own dividers, renames and changes the mode of its own half of the shared files, and has a
file of its own. So what stands without an agent's changes can be said without merging anything.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nervous_system.ledger.transaction import Engine
from replay.moments import resolve
from replay.tree import EXECUTABLE, FILE, Tree
from replay.undoing.selection import ByAgent, ByEvent
from tests.contract.hub import opened_hub
from tests.contract.swarm import Swarm

AGENTS = ("ada", "bob")
DIVIDER = "".join(f"divider {number}\n" for number in range(8))


@dataclass
class Shared:
    """A file in which both write; its name and mode are its owner's."""

    owner: str
    name: str
    mode: int = FILE
    sections: dict[str, tuple[int, ...]] = field(default_factory=lambda: dict.fromkeys(AGENTS, ()))

    def content(self) -> bytes:
        sections = ("".join(f"{agent} wrote {number}\n" for number in self.sections[agent]) for agent in AGENTS)
        return (DIVIDER + f"{DIVIDER.upper()}".join(sections) + "the end\n").encode()


@dataclass
class Model:
    """What stands, by what is whose."""

    shared: list[Shared] = field(default_factory=lambda: [Shared(agent, f"of-{agent}") for agent in AGENTS])
    own: dict[str, tuple[str, bytes] | None] = field(default_factory=lambda: dict.fromkeys(AGENTS))

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Mode and content by path."""
        found = {each.name: (each.mode, each.content()) for each in self.shared}
        return found | {held[0]: (FILE, held[1]) for held in self.own.values() if held is not None}

    def without(self, agent: str, past: Model) -> Model:
        """The same, but all that is the agent's as it was in ``past``."""
        result = deepcopy(self)
        result.own[agent] = past.own[agent]
        for each, then in zip(result.shared, past.shared, strict=True):
            each.sections[agent] = then.sections[agent]
            if each.owner == agent:
                each.name, each.mode = then.name, then.mode
        return result


@dataclass
class Work:
    """The model and the project, changed together."""

    swarm: Swarm
    model: Model = field(default_factory=Model)

    def begin(self) -> None:
        for each in self.model.shared:
            self.swarm.write("founder", each.name, each.content())

    def do(self, agent: str, index: int, kind: str, value: tuple[int, ...]) -> None:
        if kind == "own":
            self._own(agent, value)
            return
        shared = self.model.shared[index]
        before, name, mode = shared.content(), shared.name, shared.mode
        if kind == "edit" or shared.owner != agent:
            shared.sections[agent] = value
            self.swarm.write(agent, name, shared.content(), before, mode=mode)
        elif kind == "mode":
            shared.mode = EXECUTABLE if mode == FILE else FILE
            self.swarm.write(agent, name, before, before, mode=shared.mode)
        else:
            shared.name = f"of-{agent}{'-again' * len(value)}"
            shared.sections[agent] = value
            if shared.name == name:
                self.swarm.write(agent, name, shared.content(), before, mode=mode)
            else:
                self.swarm.rename(agent, name, shared.name, before, shared.content(), mode=mode)

    def _own(self, agent: str, value: tuple[int, ...]) -> None:
        held, name = self.model.own[agent], f"only-{agent}-{len(value)}"
        content = str(value).encode()
        if held is None:
            self.swarm.write(agent, name, content)
            self.model.own[agent] = name, content
        elif held[0] != name:
            self.swarm.rename(agent, held[0], name, held[1], content)
            self.model.own[agent] = name, content
        else:
            self.swarm.delete(agent, name, held[1])
            self.model.own[agent] = None

    def files(self) -> dict[str, tuple[int, bytes]]:
        tree: Tree = self.swarm.tree()
        return {path: (tree[path].mode, content) for path, content in self.swarm.files().items()}


kinds = st.sampled_from(["edit", "edit", "rename", "mode", "own"])
steps = st.lists(
    st.tuples(
        st.sampled_from(AGENTS),
        st.integers(0, 1),
        kinds,
        st.lists(st.integers(0, 2), max_size=2, unique=True).map(tuple),
    ),
    min_size=1,
    max_size=12,
)


@given(steps, st.sampled_from(AGENTS), st.integers(0, 12))
@example([("bob", 1, "edit", (0,)), ("ada", 1, "edit", ()), ("bob", 1, "edit", (0, 1))], "bob", 0)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_without_one_agent_exactly_the_others_work_stands(
    engine: Engine, address: str, work: list[tuple[str, int, Any, Any]], agent: str, kept: int
) -> None:
    with opened_hub(engine, address) as hub:
        done = Work(Swarm(hub))
        done.begin()
        past, since = deepcopy(done.model), hub.history().head().version
        for number, step in enumerate(work, start=1):
            done.do(*step)
            if number == kept:
                past, since = deepcopy(done.model), hub.history().head().version
        original = done.files()
        assert original == done.model.files()
        if not any(doer == agent for doer, *_ in work[kept if kept <= len(work) else 0 :]):
            return
        selection = ByAgent(agent, since=resolve(hub.history(), str(since)))
        plan, decision = done.swarm.undo(selection)
        assert plan.conflicts == ()
        assert done.files() == done.model.without(agent, past).files()
        assert not done.swarm.plan(selection).changes
        if plan.changes:
            done.swarm.undo(ByEvent(decision))
        assert done.files() == original
