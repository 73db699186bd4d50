"""What an earlier run left behind: found by what it wrote down, and stopped."""

from __future__ import annotations

from infrastructure.local.errors import StackError
from infrastructure.local.home import Home, lock_stack
from infrastructure.local.processes import Identity, holders, stop
from infrastructure.local.state import Phase, StackState, read_state

SUPERVISOR_GRACE_S = 60.0
ORPHAN_GRACE_S = 15.0


def running_supervisor(home: Home) -> Identity | None:
    """The supervisor, if one lives. Raises SettingsError."""
    state = read_state(home) if home.exists() else None
    return state.supervisor if state and state.supervisor.process() else None


def staying_supervisor(home: Home) -> Identity | None:
    """The supervisor, if one lives and is not about to end; waits for one that is. Raises EnchantedError."""
    state = read_state(home)
    if state and state.phase is Phase.STOPPED:
        stop_supervisor(state.supervisor)
    return running_supervisor(home)


def stop_supervisor(supervisor: Identity) -> bool:
    """Lets the supervisor stop everything in order; whether there was one. Raises StackError."""
    return _stop(supervisor, SUPERVISOR_GRACE_S, group=False)


def stop_orphans(state: StackState) -> bool:
    """Stops, in reverse order, children that outlived their supervisor; whether there were any. Raises StackError."""
    found = [child.process for child in reversed(state.children) if child.process and child.process.process()]
    for identity in found:
        _stop(identity, ORPHAN_GRACE_S, group=True)
    return bool(found)


def claim(home: Home) -> int:
    """Stops what a dead supervisor left behind and takes the stack's lock.

    Raises:
        StackError: something of an earlier run lives that cannot be stopped safely.
    """
    state = read_state(home)
    if state and not state.supervisor.process():
        stop_orphans(state)
    try:
        return lock_stack(home)
    except StackError as error:
        raise StackError(f"{error}{_advice(home)}") from error


def _advice(home: Home) -> str:
    """Names who holds the lock. They are not stopped, since they were never written down as ours."""
    found = ", ".join(f"{process.pid} ({process.name()})" for process in holders(home.lock_file))
    return f" Stop it yourself: {found or 'it belongs to another user'}."


def _stop(identity: Identity, grace_s: float, *, group: bool) -> bool:
    try:
        return stop(identity, grace_s, group=group)
    except PermissionError as error:
        raise StackError(
            f"Process {identity.pid} belongs to another user: run `enchanted down` as the user who ran `enchanted up`."
        ) from error
