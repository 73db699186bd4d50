"""What the state machine's rules are made of: a model and a ledger that are changed together, and compared."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import ExitStack

from hypothesis.stateful import RuleBasedStateMachine

from nervous_system.authoring import Author
from nervous_system.contract import AgentRole, SwarmEvent
from nervous_system.events import set_occurred
from nervous_system.landing import LandedMessage
from nervous_system.ledger.transaction import Engine
from nervous_system.projects import ProjectName
from replay.contents import Contents
from replay.keeping import Keeper
from replay.merging import Policy, tree_at
from replay.moments import Moment
from replay.state import ConflictError
from replay.undo import UndoPlan, plan_undo
from replay.undoing.selection import Selection
from replay.undoing.writing import told_of
from replay.verification import Verification
from tests import samples
from tests.contract.cold import ColdFile
from tests.contract.hub import Hub, opened_hub
from tests.contract.machine_draws import CONFLICT, Answer, Asked, Shift
from tests.contract.machine_model import OPERATOR, Files, Project, Told, When
from tests.contract.machine_work import Agent, read_change
from tests.samples import BEGAN_US, PROJECT

NAMES = [PROJECT, ProjectName(PROJECT.tenant, "stock")]
SECOND_US = 1_000_000


class Works(RuleBasedStateMachine):
    """Some projects, each in a model and in a ledger.

    Args:
        engine: where the ledger is.
        address: of the same engine.
        is_disputed: whether changes may be made that do not fit.
    """

    def __init__(self, engine: Engine, address: str, *, is_disputed: bool = False) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.address = address
        self.is_disputed = is_disputed
        self.archive = ColdFile(self.stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115 - left with the stack
        self.hub: Hub = self.stack.enter_context(opened_hub(engine, address, self.archive))
        self.own_engine: Engine | None = None
        self.model: dict[ProjectName, Project] = {name: Project() for name in NAMES}
        self.pending: list[tuple[LandedMessage, Project, list[Told]]] = []
        self.keepers: dict[ProjectName, Keeper] = {}
        self.shared_contents: dict[ProjectName, Contents] = {}
        self.told: dict[ProjectName, list[SwarmEvent]] = {}
        self.asked: list[Asked] = []
        self.clock_us = BEGAN_US
        self.numbers = itertools.count(1)
        self.founded = False

    def teardown(self) -> None:
        try:
            if self.founded:
                self.flush()
                for name, model in self.model.items():
                    if model.told:
                        self._check(name, model)
                for asked in self.asked[-10:]:
                    assert self._answer(asked.name, asked.when, asked.policy) == asked.answer, asked
        finally:
            if self.own_engine is not None:
                self.own_engine.close()
            self.stack.close()

    def flush(self) -> None:
        """Lands what is held back, all in one batch."""
        if not self.pending:
            return
        pending, self.pending = self.pending, []
        landed = self.hub.land(*(message for message, _, _ in pending))
        assert (landed.events, landed.duplicates, landed.refusals) == (sum(len(told) for *_, told in pending), 0, [])
        self.founded = True
        for message, model, made in pending:
            assert message.project is not None
            versions = self.hub.history(message.project).versions_of_events([each.event_id for each in made])
            for told, version in zip(made, versions, strict=True):
                before = (
                    model.told[self._index(model, told.event_id) - 1].version if told is not model.told[0] else None
                )
                assert version is not None
                assert before is None or before < version
                told.version = version

    def _send(self, name: ProjectName, model: Project, made: list[Told], hold: bool) -> None:
        if made:
            message = self.hub.message(*(each.data for each in made), project=name, recorded_us=self.clock_us)
            self.pending.append((message, model, made))
        if not hold:
            self.flush()

    def _plain(self, event: SwarmEvent) -> Told:
        """What is told without changing anything."""
        occurred_us = self.clock_us
        return Told(event.event_id, event.agent_id, occurred_us, self.clock_us, event.SerializeToString())

    def _project(self, index: int) -> tuple[ProjectName, Project]:
        return list(self.model.items())[index % len(self.model)]

    def _own(self, model: Project) -> list[Told]:
        shared = {id(each) for each in model.parent.told} if model.parent else set()
        return [each for each in model.told if id(each) not in shared]

    def _index(self, model: Project, event_id: str) -> int:
        return next(index for index, each in enumerate(model.told) if each.event_id == event_id)

    def _moment(self, model: Project, when: When) -> Moment:
        version = model.told[when.count - 1].version
        assert version is not None
        return Moment(version, when.at_us, when.known_at_us)

    def _expected(self, model: Project, when: When, policy: Policy) -> Answer:
        standing = model.standing(when, policy.value)
        return CONFLICT if standing.disputes else standing.files

    def _answer(self, name: ProjectName, when: When, policy: Policy, *, is_shared: bool = False) -> Answer:
        history = self.hub.history(name)
        contents = self.shared_contents.setdefault(name, Contents(history)) if is_shared else Contents(history)
        try:
            tree = tree_at(history, self._moment(self.model[name], when), contents, policy)
        except ConflictError:
            return CONFLICT
        return {path: (entry.mode, contents(entry.content_hash)) for path, entry in tree.items()}

    def _check(self, name: ProjectName, model: Project) -> None:
        """Everything that is told is there, in order, and nothing is damaged."""
        history = self.hub.history(name)
        found = [(stored.version, stored.data) for stored in history.events()]
        assert found == [(each.version, each.data) for each in model.told]
        assert [version for version, _ in found] == sorted({version for version, _ in found})
        verification = Verification(history, self.hub.ledger.audit(name))
        assert list(verification.faults()) == []
        assert verification.tally.events == len(self._own(model))

    def _work(self, shift: Shift, copy: Files | None = None) -> None:
        name, model = self._project(shift.project)
        self.clock_us += shift.passed_s * SECOND_US
        if copy is None:
            copy = dict(model.standing(When(max(0, len(model.told) - shift.seen))).files)
        hand = Agent(shift.agent, name, copy, set(model.recorded()), lambda: next(self.numbers))
        made = []
        for index, step in enumerate(shift.work):
            told = hand.do(step, self.clock_us + shift.skew_s * SECOND_US + index, self.clock_us)
            if told is None:
                continue
            model.told.append(told)
            if not self.is_disputed and model.standing(model.now()).unmerged:
                model.told.pop()
                break
            made.append(told)
        self._send(name, model, made, shift.hold)

    def _take_back(self, name: ProjectName, model: Project, selection: Selection) -> UndoPlan:
        """Plans it and, where nothing is in conflict, lands what tells of it."""
        history = self.hub.history(name)
        contents = Contents(history)
        plan = plan_undo(history, contents, selection)
        if plan.conflicts or not plan.changes:
            return plan
        events, parts = told_of(plan, history, contents, Author(name, OPERATOR, AgentRole.ROLE_OPERATOR, "s", ""))
        assert parts == []
        ids = {event.event_id: samples.event_id(next(self.numbers)) for event in events}
        made = []
        for event in events:
            # The same in every run, and by the machine's own clock.
            event.event_id = ids[event.event_id]
            event.causation_id = ids.get(event.causation_id, "")
            event.correlation_id = ""
            set_occurred(event, self.clock_us)
            told = self._plain(event)
            told.changes, told.moved, told.carried = read_change(event, contents)
            made.append(told)
        model.told += made
        self._send(name, model, made, hold=False)
        return plan
