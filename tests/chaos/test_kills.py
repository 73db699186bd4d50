"""The promise under kills: what producers were told is kept is in every store, once and in order, and nothing else."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from nervous_system.settings import Settings
from tests.chaos import damage, deadletters, holdings, journal
from tests.chaos.holdings import Holdings
from tests.chaos.journal import Told
from tests.chaos.pipeline import FAILPOINTS_OF, PROJECTS, Pipeline, running_pipeline
from tests.chaos.seeds import FOUND_FAULTS
from tests.chaos.verdict import judge, judge_bad

LEAST_KILLS = int(os.environ.get("CHAOS_KILLS") or 200)
LEAST_KILLS_EACH = 3
LEAST_HITS = 2
LEAST_ACKNOWLEDGED = 1_000
TORMENT_LIMIT_S = 900.0
LANDING_LIMIT_S = 180.0
POLL_S = 1.0
TELL_EVERY_S = 30.0

STORES: dict[str, Callable[[Settings], Holdings]] = {
    "ledger": holdings.in_ledger,
    "clickhouse": holdings.in_clickhouse,
    "archive": holdings.in_archive,
}


def seeds() -> list[int]:
    """The one that is asked for, else those that found something and a new one."""
    asked = os.environ.get("CHAOS_SEED")
    return [int(asked)] if asked else [*FOUND_FAULTS, random.randrange(10**9)]


@pytest.mark.parametrize("seed", seeds())
def test_kills_lose_double_invent_and_misplace_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    with capsys.disabled():
        print(f"\nCHAOS_SEED={seed}")
        with running_pipeline(tmp_path, seed) as pipeline:
            torment(pipeline, seed)
            told = {project: journal.read(pipeline.journals(project)) for project in PROJECTS}
            assert sum(len(each.acknowledged) for each in told.values()) >= LEAST_ACKNOWLEDGED
            held = {name: settled(name, pipeline.settings, told) for name in STORES}
            report(pipeline, told, held)
            faults = [*misjudged(told, held), *missing(pipeline.settings, told)]
            print("  lost, doubled, invented or misplaced:", "; ".join(faults) or "none")
            blind = [name for name, harm in damage.KINDS.items() if not is_seen(harm, name, pipeline.settings, told)]
    assert faults == [], f"CHAOS_SEED={seed}: keep it in tests/chaos/seeds.py"
    assert blind == [], "what was taken from a store on purpose was not missed"
    # A worker waits for whatever is away; it never ends by itself.
    assert [(worker.name, worker.exits) for worker in pipeline.workers if worker.exits] == []


def torment(pipeline: Pipeline, seed: int) -> None:
    """Kills, cuts and starves until there was enough of it; then lets the producers finish, all else running."""
    pipeline.torment(seed)
    began_s = told_s = time.monotonic()
    while wanting := still_wanting(pipeline):
        now_s = time.monotonic()
        assert now_s < began_s + TORMENT_LIMIT_S, f"after {TORMENT_LIMIT_S:.0f} s there were not enough: {wanting}"
        if now_s > told_s + TELL_EVERY_S:
            print(f"  {now_s - began_s:4.0f} s: too few yet: {wanting}", flush=True)
            told_s = now_s
        pipeline.over.wait(POLL_S)
    pipeline.calm()
    pipeline.stop_file.touch()
    for producer in pipeline.producers:
        assert producer.process is not None
        assert producer.process.wait(LANDING_LIMIT_S) == 0, f"{producer.name} failed: see {producer.log}"


def still_wanting(pipeline: Pipeline) -> str:
    """What there was too little of yet; empty where there was enough."""
    kills = sum(victim.kills for victim in pipeline.hunted)
    hits = place_hits(pipeline)
    rare = [place for place, count in hits.items() if count < LEAST_HITS]
    spared = [victim.name for victim in pipeline.hunted if victim.kills < LEAST_KILLS_EACH]
    waited = [
        each.name for each in pipeline.hunted if each.rhythm and each.rhythm.absence_s and not each.has_been_absent
    ]
    hungry = pipeline.famine.filled < len(pipeline.famine.disks)
    wanting = {
        f"{kills} kills": kills < LEAST_KILLS,
        f"kills of {spared}": bool(spared),
        f"kills at {len(rare)} places, such as {', '.join(rare[:2])}": bool(rare),
        f"absences of {waited}": bool(waited),
        "full disks": hungry,
    }
    return "; ".join(text for text, is_wanting in wanting.items() if is_wanting)


def place_hits(pipeline: Pipeline) -> dict[str, int]:
    """How often a worker killed itself at each place, for every sink."""
    hits = Counter(
        {f"{worker.name} {place}": count for worker in pipeline.workers for place, count in worker.hits.items()}
    )
    return {
        f"ingest-{sink} {place}": hits[f"ingest-{sink} {place}"]
        for sink in FAILPOINTS_OF
        for place in FAILPOINTS_OF[sink]
    }


def settled(name: str, settings: Settings, told: dict[str, Told]) -> Holdings:
    """What a store holds once it has each project's last acknowledged event, before which all others must stand."""
    deadline_s = time.monotonic() + LANDING_LIMIT_S
    pause = threading.Event()
    held: Holdings = {}
    while not all(each.acknowledged[-1] in held.get(project, ()) for project, each in told.items()):
        assert time.monotonic() < deadline_s, f"{name} does not have the last events after {LANDING_LIMIT_S:.0f} s"
        pause.wait(POLL_S)
        try:
            held = STORES[name](settings)
        except holdings.AWAY as error:
            print(f"{name} does not answer yet: {error}")
    return held


def misjudged(told: dict[str, Told], held: dict[str, Holdings]) -> list[str]:
    """What is wrong with the events in the stores."""
    verdicts = {(name, project): judge(told[project], held[name][project]) for name in STORES for project in told}
    strangers = [f"{project} in {name} is nobody's" for name in STORES for project in set(held[name]) - set(told)]
    bad = [f"{project} in {name}: {verdict}" for (name, project), verdict in verdicts.items() if not verdict.good]
    return bad + strangers


def is_seen(harm: Callable[[Settings], None], name: str, settings: Settings, told: dict[str, Told]) -> bool:
    """Whether the checker misses what ``harm`` takes from a store."""
    harm(settings)
    held = STORES[name](settings)
    lost = sum(judge(each, held.get(project, ())).lost for project, each in told.items())
    print(f"  taken from the {name} on purpose: {lost} lost")
    return lost > 0


def missing(settings: Settings, told: dict[str, Told]) -> list[str]:
    """Parts of large contents that are missing, and what is wrong with the dead letters."""
    tenants = {project.partition("/")[0] for project in told}
    parts = {
        tenant: frozenset(
            part for project, each in told.items() if project.startswith(f"{tenant}/") for part in each.parts
        )
        for tenant in tenants
    }
    lacking = [f"part {each}" for tenant in tenants for each in holdings.missing_parts(settings, tenant, parts[tenant])]
    return lacking + judge_bad(list(told.values()), deadletters.buried(settings))


def report(pipeline: Pipeline, told: dict[str, Told], held: dict[str, Holdings]) -> None:
    """Prints what was killed and what is where."""
    for victim in pipeline.everyone:
        ended = f", ended by itself: {victim.exits}" if victim.exits else ""
        print(f"  {victim.name:<22} killed {victim.kills:3} times{ended}")
    print(
        f"  servers and workers together {sum(victim.kills for victim in pipeline.hunted)}; of these at named places:"
    )
    for worker in pipeline.workers:
        if worker.hits:
            print(f"    {worker.name}: {', '.join(f'{place} {count}' for place, count in sorted(worker.hits.items()))}")
    print(f"  {sum(wire.cuts for wire in pipeline.wires)} connections cut, {pipeline.famine.filled} disks filled")
    if not pipeline.famine.disks:
        print("  full disks were skipped: this process may not mount a tmpfs, which takes root")
    print(f"  away for long: {', '.join(victim.name for victim in pipeline.hunted if victim.has_been_absent)}")
    acknowledged = sum(len(each.acknowledged) for each in told.values())
    print(f"  {acknowledged:,} events acknowledged, {sum(len(each.unknown) for each in told.values()):,} unknown")
    print(f"  {sum(len(each.parts) for each in told.values())} parts of large contents, ", end="")
    print(f"{sum(len(each.bad) for each in told.values())} events to be refused")
    for name, projects in held.items():
        print(f"  {name:<12} holds {sum(map(len, projects.values())):,}")
    print(f"  {'(its table':<12} has {holdings.rows_in_table(pipeline.settings):,} rows below the view)")
