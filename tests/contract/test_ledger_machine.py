"""Whatever agents do, in whatever order it lands, every question about any moment is answered as the model does."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from nervous_system.contract import Checkpoint
from nervous_system.errors import NotFoundError
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.transaction import Engine
from nervous_system.projects import ProjectName
from replay.contents import Contents
from replay.forking import opening
from replay.keeping import Keeper
from replay.merging import Policy, tree_at
from replay.moments import resolve
from replay.restoring.plan import plan_restore
from replay.restoring.restore import act
from replay.undoing.selection import ByAgent, ByEvent, Selection, UndoError
from replay.why import explain
from tests import samples
from tests.contract.machine_base import Works
from tests.contract.machine_draws import (
    CONFLICT,
    Asked,
    Question,
    Shift,
    agents,
    bits,
    forms,
    paths,
    places,
    projects,
    questions,
    shifts,
)
from tests.contract.machine_model import (
    AGENTS,
    EXECUTABLE,
    FILES,
    OPERATOR,
    SYMLINK,
    Project,
    When,
    plain_undone,
    sha,
)
from tests.contract.machine_work import PATHS, Step

MOST_PROJECTS = 5


class TimeMachine(Works):
    """Random work on some projects, and questions about random moments."""

    # What happens.

    @initialize(styles=st.lists(st.integers(0, 7), min_size=len(PATHS), max_size=len(PATHS)))
    def found(self, styles: list[int]) -> None:
        """Every agent has written something in the first project."""
        for index, style in enumerate(styles):
            step = Step("create", index, 0, style, "whole")
            self._work(Shift(0, AGENTS[index % len(AGENTS)], 0, (step,), 0, 1, True))

    @rule(shifts=st.lists(shifts, min_size=1, max_size=5))
    def work(self, shifts: list[Shift]) -> None:
        """Agents work on, each on what it saw last."""
        for shift in shifts:
            self._work(shift)

    @rule(project=projects, seen=st.integers(0, 9), path=paths, shifts=st.lists(shifts, min_size=2, max_size=4))
    def work_apart(self, project: int, seen: int, path: int, shifts: list[Shift]) -> None:
        """Agents change one file, none knowing of the others: nothing lands before all are done."""
        _, model = self._project(project)
        count = max(0, len(model.told) - seen)
        copies = [dict(model.standing(When(count)).files) for _ in shifts]
        for shift, copy in zip(shifts, copies, strict=True):
            work = [replace(step, path=path) for step in shift.work]
            self._work(replace(shift, project=project, work=tuple(work)), copy)

    @rule(project=projects, path=paths, rounds=st.lists(st.tuples(agents, bits, forms), min_size=2, max_size=12))
    def work_in_turns(self, project: int, path: int, rounds: list[tuple[str, int, str]]) -> None:
        """Agents change one file, each going on from what it has of it, which is all that it knows."""
        _, model = self._project(project)
        copies = {agent: dict(model.standing(model.now()).files) for agent in AGENTS}
        for agent, chosen, form in rounds:
            step = Step("edit", path, 0, chosen, form if form != "unclaimed" else "whole")
            self._work(Shift(project, agent, 0, (step,), 0, 1, True), copies[agent])

    @rule(project=projects, name=st.sampled_from(["green", "blue"]), back=places)
    def checkpoint(self, project: int, name: str, back: int) -> None:
        self.flush()
        where, model = self._project(project)
        if not model.told:
            return
        through = model.told[max(0, len(model.told) - 1 - back)].event_id if back else ""
        event = samples.event(
            next(self.numbers),
            where,
            occurred_us=self.clock_us,
            checkpoint=Checkpoint(name=name, through_event_id=through),
        )
        told = self._plain(event)
        model.told.append(told)
        self._send(where, model, [told], hold=False)
        moment = resolve(self.hub.history(where), name)
        index = self._index(model, through or told.event_id)
        assert moment.through == model.told[index].version

    @rule(project=projects, back=places, count=st.integers(1, 4))
    def land_again(self, project: int, back: int, count: int) -> None:
        """The same events once more change nothing."""
        self.flush()
        name, model = self._project(project)
        own = self._own(model)
        if not own:
            return
        start = max(0, len(own) - 1 - back)
        again = own[start : start + count]
        before = self.hub.history(name).head()
        landed = self.hub.land(
            self.hub.message(*(each.data for each in again), project=name, recorded_us=self.clock_us)
        )
        assert (landed.events, landed.duplicates, landed.refusals) == (0, len(again), [])
        assert self.hub.history(name).head() == before

    @rule(project=projects, question=questions)
    def fork(self, project: int, question: Question) -> None:
        self.flush()
        name, model = self._project(project)
        if len(self.model) == MOST_PROJECTS or not model.told:
            return
        when = question.when(model)
        history = self.hub.history(name)
        new = ProjectName(name.tenant, f"fork-{len(self.model)}")
        event = samples.event(
            next(self.numbers),
            new,
            occurred_us=self.clock_us,
            checkpoint=opening(history, self._moment(model, when)),
        )
        told = self._plain(event)
        forked = Project([*model.at(when), told], parent=model)
        if not self.is_disputed and forked.standing(forked.now()).unmerged:
            return
        self.model[new] = forked
        self._send(new, forked, [told], hold=False)

    @rule(project=projects, afresh=st.booleans(), least_events=st.integers(1, 5))
    def keep(self, project: int, afresh: bool, least_events: int) -> None:
        self.flush()
        name, model = self._project(project)
        if not model.told:
            return
        if afresh or name not in self.keepers:
            self.told[name] = []
            self.keepers[name] = Keeper(
                self.hub.history(name),
                self.hub.ledger.snapshots(name),
                self.told[name].extend,
                least_events=least_events,
            )
        self.keepers[name].advance()
        own = {each.event_id for each in self._own(model)}
        unmerged = {each for each in model.standing(model.now()).unmerged if each in own}
        assert {event.causation_id for event in self.told[name]} <= unmerged

    @rule(
        project=projects,
        chosen=st.one_of(agents, places),
        since=st.none() | places,
        is_undone_again=st.booleans(),
    )
    def undo(self, project: int, chosen: str | int, since: int | None, is_undone_again: bool) -> None:
        """One agent's work, or one event, is taken back; of plain texts exactly its own lines."""
        self.flush()
        name, model = self._project(project)
        if not model.told or model.standing(model.now()).disputes:
            return
        begin = None if since is None else When(max(1, len(model.told) - since))
        told = None if isinstance(chosen, str) else model.told[max(0, len(model.told) - 1 - chosen)]
        if told is not None:
            selection: Selection = ByEvent(told.event_id)
        else:
            selection = ByAgent(str(chosen), None if begin is None else self._moment(model, begin))
        before, count = model.standing(model.now()).files, len(model.told)
        try:
            plan = self._take_back(name, model, selection)
        except (UndoError, NotFoundError):
            return
        if told is None:
            past = {} if begin is None else model.standing(begin).files
            for path, expected in plain_undone(model, count, str(chosen), begin, past).items():
                assert path not in {conflict.resource for conflict in plan.conflicts}, path
                if not plan.conflicts:
                    assert model.standing(model.now()).files[path][1] == expected, path
        if plan.conflicts or not plan.changes:
            assert len(model.told) == count
            return
        after = dict(before)
        for change in plan.changes:
            after.pop(change.renamed_from, None)
        after_hashes = {path: (mode, sha(content)) for path, (mode, content) in after.items()}
        for change in plan.changes:
            after_hashes.pop(change.resource, None)
            if change.after is not None:
                after_hashes[change.resource] = change.after.mode, change.after.content_hash
        standing = model.standing(model.now()).files
        assert {path: (mode, sha(content)) for path, (mode, content) in standing.items()} == after_hashes
        assert self._answer(name, model.now(), Policy.FAIL) == standing
        if is_undone_again:
            self._take_back(name, model, ByEvent(model.told[count].event_id))
            assert model.standing(model.now()).files == before
            assert self._answer(name, model.now(), Policy.FAIL) == before

    @rule(project=projects)
    def forget(self, project: int) -> None:
        """Snapshots can always be done without."""
        self.flush()
        name, model = self._project(project)
        if model.told:
            self.hub.ledger.snapshots(name).clear()

    @rule(project=projects)
    def move(self, project: int) -> None:
        """As when the project is moved to another cluster."""
        self.flush()
        name, model = self._project(project)
        if model.told:
            self.hub.ledger.raise_incarnation(name)

    @rule(project=projects, newest=places, stays=st.booleans())
    def offload(self, project: int, newest: int, stays: bool) -> None:
        """Bytes of all but the newest events are in the archive only; which of them stay, for speed, is no matter."""
        self.flush()
        name, model = self._project(project)
        rows = self.archive.rows(name)
        rows = rows[: max(0, len(rows) - newest)]
        keep = self.hub.ledger.standing_contents(name, self.clock_us) if stays and model.told else ()
        offloaded = self.hub.ledger.offload(name, rows, keep)
        assert offloaded.differences == ()
        assert offloaded.events + offloaded.kept >= len({row.event_id for row in rows})

    @rule()
    def reopen(self) -> None:
        self.flush()
        if self.own_engine is not None:
            self.own_engine.close()
        self.own_engine = open_engine(self.address)
        self.hub.ledger = Ledger(self.own_engine, self.hub.root, lambda: self.archive)
        self.keepers.clear()
        self.shared_contents.clear()

    # What is asked.

    @rule(project=projects, questions=st.lists(questions, min_size=1, max_size=5))
    def ask(self, project: int, questions: list[Question]) -> None:
        self.flush()
        name, model = self._project(project)
        for question in questions if model.told else ():
            when, policy = question.when(model), question.policy
            expected = self._expected(model, when, policy)
            assert self._answer(name, when, policy) == expected, (name, when, policy)
            assert self._answer(name, when, policy, is_shared=True) == expected, (name, when, policy)
            self.asked.append(Asked(name, when, policy, expected))

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 100))
    def ask_again(self, which: int) -> None:
        """A committed prefix never changes."""
        self.flush()
        asked = self.asked[which % len(self.asked)]
        assert self._answer(asked.name, asked.when, asked.policy) == asked.answer, asked

    @rule(project=projects, back=places)
    def name_moments(self, project: int, back: int) -> None:
        """An event is found by its id and its version, and so is what comes before it."""
        self.flush()
        name, model = self._project(project)
        if not model.told:
            return
        history = self.hub.history(name)
        index = max(0, len(model.told) - 1 - back)
        told = model.told[index]
        for text in (told.event_id, str(told.version)):
            assert resolve(history, text).through == told.version
            if index:
                assert resolve(history, f"before:{text}").through == model.told[index - 1].version
        assert history.event(told.version).data == told.data if told.version else False

    @rule(project=projects, question=questions)
    def restore(self, project: int, question: Question) -> None:
        self.flush()
        name, model = self._project(project)
        when = question.when(model) if model.told else None
        if when is None or self._expected(model, when, Policy.FAIL) == CONFLICT:
            return
        contents = Contents(self.hub.history(name))
        tree = tree_at(self.hub.history(name), self._moment(model, when), contents)
        with quick_folder() as folder:
            act(plan_restore(tree, folder / "new", contents), contents)
            assert dict(found_in(folder / "new")) == model.standing(when).files

    @rule(project=projects, path=paths)
    def why(self, project: int, path: int) -> None:
        """Every line that says whose it is was written by that agent, or put back by whoever takes things back."""
        self.flush()
        name, model = self._project(project)
        standing = model.standing(model.now())
        mode, content = standing.files.get(PATHS[path], (0, b""))
        if standing.unmerged or not content or b"\0" in content or mode == SYMLINK:
            return
        history = self.hub.history(name)
        explanation = explain(history, PATHS[path], resolve(history, "now"))
        assert [line.text for line in explanation.lines] == content.decode().removesuffix("\n").split("\n")
        by_version = {each.version: each for each in model.told}
        for line in explanation.lines:
            told, said = by_version[line.origin], line.text.split()[1]
            assert told.agent == explanation.reasons[line.origin].event.agent_id
            # Who writes without saying what was there may write an old line of somebody else's anew.
            is_bold = not told.moved and not told.changes[0].claimed
            assert said not in AGENTS or told.agent in (said, OPERATOR) or is_bold, (PATHS[path], line)

    @rule(project=projects)
    def verify(self, project: int) -> None:
        self.flush()
        name, model = self._project(project)
        if model.told:
            self._check(name, model)


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


def found_in(folder: Path) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """Mode and content of every file and link below a folder, by path."""
    for path in folder.rglob("*"):
        resource = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield resource, (SYMLINK, os.fsencode(path.readlink()))
        elif path.is_file():
            is_executable = bool(path.stat().st_mode & stat.S_IXUSR)
            yield resource, (EXECUTABLE if is_executable else FILES[0], path.read_bytes())


RUN = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "12")),
    stateful_step_count=int(os.environ.get("MACHINE_STEPS", "25")),
    deadline=None,
    derandomize="MACHINE_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


@pytest.mark.parametrize("is_disputed", [False, True])
def test_every_answer_is_the_models(engine: Engine, address: str, is_disputed: bool) -> None:
    class Machine(TimeMachine):
        def __init__(self) -> None:
            super().__init__(engine, address, is_disputed=is_disputed)

    run_state_machine_as_test(Machine, settings=RUN)
