"""How far a server's clock is from ours. Pure."""

from __future__ import annotations

from infrastructure.doctor.findings import Finding, failure, ok, warning

WARN_S, FAIL_S = 1.0, 30.0
_ADVICE = "Have both set by NTP: times given to `--at` mean what clocks say, and S3 refuses requests of another hour."


def skew(check: str, server_us: int, asked: tuple[int, int], resolution_s: float = 0.0) -> Finding:
    """What to tell of a server's time.

    Args:
        check: names the server.
        server_us: its time, microseconds since 1970.
        asked: our time before it was asked and after it answered.
        resolution_s: how coarsely the server tells it.
    """
    before, after = asked
    apart_s = (server_us - (before + after) / 2) / 1e6
    unsure_s = (after - before) / 2e6 + resolution_s
    surely_s = max(abs(apart_s) - unsure_s, 0.0)
    if surely_s < WARN_S:
        return ok(check, f"Agrees with this machine's, to {abs(apart_s):.1f} s.")
    direction = "ahead of" if apart_s > 0 else "behind"
    grave = failure if surely_s >= FAIL_S else warning
    return grave(check, f"{abs(apart_s):,.1f} s {direction} this machine's. {_ADVICE}")
