"""``capture``: how soon a change is an event, what watching an idle tree costs, and what recording costs a build."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import watchfiles

from nervous_system.capture.session import Session
from nervous_system.capture.worktree.shadow import Shadow
from nervous_system.capture.worktree.watcher import SCAN_EVERY_S, TreeOptions, Watcher
from nervous_system.events import decode, occurred_us
from nervous_system.outbox.opening import connect, outbox_path
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.benchmarks.material import PROJECT

CHANGED_FILES = 2_000
IDLE_FILES = 50_000
IDLE_S = 20.0
BUILT_FILES = 5_000
BUILD_ROUNDS = 5
SETTLED_S = 1.0
# Changes as many files as there are within a second, evenly.
WRITER = """
import pathlib, sys, time
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
began = time.monotonic()
for number in range(count):
    time.sleep(max(0, began + number / count - time.monotonic()))
    (folder / str(number % 40) / str(number)).write_text(f"{number} now\\n" * 20)
"""


def run(folder: Path) -> None:
    """The three, each beside a baseline."""
    _compare_delays(folder)
    _compare_idling(folder)
    _compare_builds(folder)


def _compare_delays(folder: Path) -> None:
    print(f"\ncapture: from a file's change to its event, {CHANGED_FILES:,} files changed in a second (ms)")
    delays = {
        "event, read and hashed": _recorded_delays(_tree(folder / "recorded", CHANGED_FILES), folder / "delays"),
        "watchfiles, the notice alone, as it is by default": _noticed_delays(_tree(folder / "noticed", CHANGED_FILES)),
    }
    baseline = statistics.median([*delays.values()][-1])
    for name, measured in delays.items():
        ordered = sorted(measured)
        middle, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        count = f"{len(ordered):,} of {CHANGED_FILES:,}"
        print(f"  {name:<54} {count:>14}  p50 {middle:>6.1f}  p99 {late:>6.1f}  {middle / baseline:>5.2f} x")


def _recorded_delays(tree: Path, home: Path) -> list[float]:
    with _session(tree, home):
        _write(tree)
    delays: list[float] = []
    for (data,) in connect(outbox_path(Settings(home=home), PROJECT)).execute(
        "SELECT data FROM rows WHERE payload = 'state_change'"
    ):
        event = decode(data)
        changed_us = (tree / event.state_change.target_resource).stat().st_mtime_ns / 1_000
        if event.state_change.previous_state_hash:
            delays.append((occurred_us(event) - changed_us) / 1_000)
    return delays


def _noticed_delays(tree: Path) -> list[float]:
    stop = threading.Event()
    seen: dict[str, float] = {}
    watching = threading.Event()

    def watch() -> None:
        for changes in watchfiles.watch(tree, stop_event=stop, rust_timeout=100, yield_on_timeout=True):
            watching.set()
            now_s = time.time()
            seen.update({path: now_s for _, path in changes})

    thread = threading.Thread(target=watch)
    thread.start()
    watching.wait()
    _write(tree)
    time.sleep(SETTLED_S)
    stop.set()
    thread.join()
    return [(seen_s - Path(path).stat().st_mtime) * 1_000 for path, seen_s in seen.items()]


def _write(tree: Path) -> None:
    subprocess.run([sys.executable, "-c", WRITER, str(tree), str(CHANGED_FILES)], check=True)


def _compare_idling(folder: Path) -> None:
    tree = _tree(folder / "idle", IDLE_FILES)
    watch = [*_enchanted("watch", "--project", str(PROJECT)), str(tree)]
    began_s = time.perf_counter()
    with _process(watch, folder / "idle-home") as process:
        print(f"\ncapture: watching {IDLE_FILES:,} files on which nothing happens (share of one core)")
        held_mb = process.memory_info().rss / 1e6
        print(f"  baseline recorded in {time.perf_counter() - began_s:.1f} s, {held_mb:.0f} MB held")
        own = _share(process)
    scan_s = _scan_s(tree, folder / "scan-home")
    plain = [sys.executable, "-c", f"import watchfiles, sys\nfor _ in watchfiles.watch({str(tree)!r}): pass"]
    with _process(plain, folder / "idle-home", is_told=False) as process:
        time.sleep(SETTLED_S)
        theirs = _share(process)
    every_s = max(SCAN_EVERY_S, scan_s / 0.01)
    print(f"  enchanted watch, between scans                       {max(own, 0):>8.3%}")
    print(f"  its scan of {scan_s:.2f} s, each {every_s:.0f} s                       {scan_s / every_s:>8.3%}")
    print(f"  watchfiles alone                                     {theirs:>8.3%}   baseline")


def _scan_s(tree: Path, home: Path) -> float:
    """How long a scan takes that finds nothing, by the processor's time."""
    settings = Settings(home=home)
    with Recorder(str(PROJECT), agent="a", settings=settings) as recorder:
        watcher = Watcher(TreeOptions(tree), Shadow(home / "shadow"), recorder)
        watcher.baseline()
        began_s = time.process_time()
        watcher._scan()
        took_s = time.process_time() - began_s
        watcher.finish()
    return took_s


def _share(process: psutil.Process) -> float:
    before, began_s = process.cpu_times(), time.monotonic()
    time.sleep(IDLE_S)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began_s)


def _compare_builds(folder: Path) -> None:
    source = folder / "source"
    for number in range(BUILT_FILES):
        place = source / str(number % 50)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"m{number}.py").write_text(_module(number))
    build = [sys.executable, "-m", "compileall", "-q", "-j", "1", "."]
    taken: dict[str, list[float]] = {"plain": [], "recorded": [], "whole": []}
    for number in range(BUILD_ROUNDS):
        home = folder / f"build-home-{number}"
        taken["plain"].append(_timed(build, source, home))
        whole_s = _timed([*_enchanted("record", "--project", str(PROJECT), "--"), *build], source, home)
        taken["whole"].append(whole_s)
        taken["recorded"].append(_told_s(home))
    middle = {name: statistics.median(each) for name, each in taken.items()}
    print(f"\ncapture: a build that writes {BUILT_FILES:,} files (median of {BUILD_ROUNDS}, s)")
    for name, told in (
        ("recorded", "the build under enchanted record, by its own time"),
        ("whole", "the same with the first baseline and the last scan"),
    ):
        print(f"  {told:<54} {middle[name]:>8.2f}  {middle[name] / middle['plain']:>6.3f} x")
    print(f"  {'the build alone':<54} {middle['plain']:>8.2f}   baseline")


def _module(number: int) -> str:
    one = "def f{each}(x, y={each}):\n    return [x + y * {number} for _ in range(y)]\n"
    body = "\n".join(one.format(each=each, number=number) for each in range(30))
    return f'"""Module {number}."""\n\n{body}'


def _timed(command: list[str], source: Path, home: Path) -> float:
    for made in source.glob("*/__pycache__"):
        shutil.rmtree(made)
    began_s = time.perf_counter()
    environment = {**os.environ, "ENCHANTED_HOME": str(home)}
    subprocess.run(command, cwd=source, env=environment, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began_s


def _told_s(home: Path) -> float:
    (row,) = connect(outbox_path(Settings(home=home), PROJECT)).execute(
        "SELECT data FROM rows WHERE payload = 'tool_call'"
    )
    return decode(row[0]).tool_call.duration_ms / 1_000


@contextmanager
def _session(tree: Path, home: Path) -> Iterator[None]:
    with Recorder(str(PROJECT), agent="a", settings=Settings(home=home)) as recorder:
        watcher = Watcher(TreeOptions(tree), Shadow(home / "shadow"), recorder)
        watcher.baseline()
        session = Session(recorder, watcher)
        session.start()
        yield
        time.sleep(SETTLED_S)
        session.stop()


@contextmanager
def _process(command: list[str], home: Path, *, is_told: bool = True) -> Iterator[psutil.Process]:
    """A process; once it has told that it is ready, where it does."""
    environment = {**os.environ, "ENCHANTED_HOME": str(home)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        if is_told:
            process.stderr.readline()
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def _tree(root: Path, count: int) -> Path:
    for number in range(count):
        place = root / str(number % 40) if count == CHANGED_FILES else root / str(number % 500)
        place.mkdir(parents=True, exist_ok=True)
        (place / str(number)).write_text(f"{number} before\n" * 20)
    return root


def _enchanted(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "infrastructure.cli.main", *arguments]
