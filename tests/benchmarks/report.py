"""Measuring contenders in turns, and saying what came of it: rates, and their ratio to a named baseline."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work.

    Args:
        name: what it is, so that nobody takes it for something else.
        amount: how many units one run does.
        prepare: makes one run ready, outside the measured time, and gives what is to be measured.
    """

    name: str
    amount: int
    prepare: Callable[[], Callable[[], object]]

    def rate(self) -> float:
        """Units a second of one run."""
        work = self.prepare()
        began_s = time.perf_counter()
        work()
        return self.amount / (time.perf_counter() - began_s)


def compare(
    title: str, unit: str, contenders: Sequence[Contender], baseline: Contender | None, *, rounds: int = ROUNDS
) -> None:
    """Runs everyone in turns, ``rounds`` times, and prints the median rates; noise then meets all alike.

    Args:
        title: of the comparison.
        unit: what is counted, such as ``events``.
        contenders: what is measured.
        baseline: what the ratios are to; None where there is nothing to compare with.
    """
    everyone = [*contenders, *([baseline] if baseline else [])]
    rates: list[list[float]] = [[] for _ in everyone]
    for _ in range(rounds):
        for contender, measured in zip(everyone, rates, strict=True):
            measured.append(contender.rate())
    medians = [statistics.median(measured) for measured in rates]
    print(f"\n{title} (median of {rounds}, {unit}/s)" if rounds > 1 else f"\n{title} ({unit}/s)")
    for contender, rate in zip(everyone, medians, strict=True):
        against = "baseline" if contender is baseline else f"{rate / medians[-1]:.2f} x" if baseline else ""
        print(f"  {contender.name:<74} {rate:>12,.0f}  {against:>9}".rstrip(), flush=True)
