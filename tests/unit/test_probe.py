"""The health check of an image without curl."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nervous_system.telemetry import probe
from nervous_system.telemetry.condition import Condition
from nervous_system.telemetry.pages import Pages
from tests.integration.gateway_process import free_port


@pytest.fixture
def service() -> Iterator[tuple[str, Condition]]:
    condition, address = Condition(), f"127.0.0.1:{free_port()}"
    condition.beat()
    with Pages(address, condition):
        yield address, condition


def test_it_asks_where_the_service_listens() -> None:
    assert probe.url([], {"ENCHANTED_METRICS_ADDRESS": "0.0.0.0:9464"}) == "http://127.0.0.1:9464/readyz"
    assert probe.url([], {"ENCHANTED_METRICS_ADDRESS": "10.0.0.1:9464"}) == "http://10.0.0.1:9464/readyz"
    assert probe.url(["http://127.0.0.1:1/x"], {"ENCHANTED_METRICS_ADDRESS": "0.0.0.0:9464"}) == "http://127.0.0.1:1/x"
    assert probe.url([], {}) == ""


def test_it_tells_how_the_service_is(service: tuple[str, Condition]) -> None:
    address, condition = service
    condition.settle("the log does not answer")
    assert probe.asked(f"http://{address}/readyz") == (503, "the log does not answer")
    condition.settle()
    assert probe.asked(f"http://{address}/readyz") == (200, "ready")
    assert probe.asked(f"http://{address}/elsewhere")[0] == 404
    status, words = probe.asked(f"http://127.0.0.1:{free_port()}/readyz")
    assert status == 0
    assert "does not answer" in words


def test_it_exits_as_a_health_check(service: tuple[str, Condition], monkeypatch: pytest.MonkeyPatch) -> None:
    address, condition = service
    monkeypatch.setattr("sys.argv", ["probe"])
    monkeypatch.setenv("ENCHANTED_METRICS_ADDRESS", address)
    for reasons, code in (("",), 0), (("trouble",), 1):
        condition.settle(*filter(None, reasons))
        with pytest.raises(SystemExit) as ended:
            probe.main()
        assert ended.value.code == code
