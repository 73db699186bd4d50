"""What a connection that is cut leaves behind."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from nervous_system import bus
from nervous_system.errors import UnavailableError
from nervous_system.settings import Settings


@pytest.mark.parametrize(("error", "lines"), [(ConnectionResetError("cut"), 0), (ValueError("a fault"), 1)])
def test_a_cut_connection_is_told_once(
    error: Exception, lines: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def forget() -> None:
        with pytest.raises(UnavailableError):
            await bus.connect(Settings(home=tmp_path, nats_url="nats://127.0.0.1:1"))
        asyncio.get_running_loop().create_future().set_exception(error)
        gc.collect()

    caplog.clear()
    asyncio.run(forget())
    assert len([record for record in caplog.records if record.name == "asyncio"]) == lines
