"""What the state machine asks, and what it has agents do, as values that it draws."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from nervous_system.projects import ProjectName
from replay.merging import Policy
from tests.contract.machine_model import AGENTS, Files, Project, When
from tests.contract.machine_work import FORMS, KINDS, PATHS, Step

CONFLICT = "conflict"

Answer = Files | str


@dataclass(frozen=True, slots=True)
class Question:
    """About the moment so many events ``back``, by either clock's time where it says so, ``delta`` microseconds off."""

    back: int
    at: bool
    known: bool
    delta: int
    policy: Policy

    def when(self, model: Project) -> When:
        """What it asks about, of a project that has events."""
        near = model.told[max(0, len(model.told) - 1 - self.back)]
        return When(
            len(model.told) if self.at or self.known else max(1, len(model.told) - self.back),
            near.occurred_us + self.delta if self.at else None,
            near.recorded_us + self.delta if self.known else None,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that has been asked, and the answer that was given."""

    name: ProjectName
    when: When
    policy: Policy
    answer: Answer


@dataclass(frozen=True, slots=True)
class Shift:
    """What one agent does before it lands.

    Args:
        seen: how many events before the last it saw the project.
        skew_s: how far its clock is off.
        passed_s: how long after what was done before.
        hold: whether it lands together with what comes next.
    """

    project: int
    agent: str
    seen: int
    work: tuple[Step, ...]
    skew_s: int
    passed_s: int
    hold: bool


# Most of it is done in the first project, so that there is much of it.
projects = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4])
agents, forms = st.sampled_from(AGENTS), st.sampled_from(FORMS)
paths, bits = st.integers(0, len(PATHS) - 1), st.integers(0, 7)
places = st.integers(0, 40)
"""How many events before the last."""
steps = st.builds(Step, st.sampled_from(KINDS), paths, paths, bits, forms)
shifts = st.builds(
    Shift,
    projects,
    agents,
    st.sampled_from([0, 0, 0, 1, 2, 3, 5, 8, 13]),
    st.lists(steps, min_size=1, max_size=4).map(tuple),
    st.sampled_from([0, 0, 0, -1, -40, -300, 5, 600]),
    st.sampled_from([0, 1, 30]),
    st.booleans(),
)
questions = st.builds(
    Question,
    places,
    st.booleans(),
    st.booleans(),
    st.integers(-1, 1),
    st.sampled_from([Policy.FAIL, Policy.FAIL, Policy.OURS, Policy.THEIRS]),
)
