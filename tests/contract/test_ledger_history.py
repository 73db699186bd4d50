"""Reading on every engine: pages, large events, contents cut out and put back, indexes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from threading import Thread

import pytest

from nervous_system.contract import AgentDecision, Checkpoint, Operation, SwarmEvent, ToolCall
from nervous_system.errors import NotFoundError
from nervous_system.events import content_hash
from nervous_system.ledger import history as history_module
from nervous_system.ledger.history import History
from nervous_system.ledger.records import CHUNK_BYTES, LIFT_FROM_BYTES, DamagedError
from nervous_system.ledger.transaction import Engine
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName
from tests.contract.hub import Hub, opened_hub
from tests.samples import BEGAN_US, FILE_MODE, PROJECT, delete, event, patch, write

SAME_TENANT = ProjectName("acme", "other")
OTHER_TENANT = ProjectName("umbrella", "shop")
NEVER = Version(1, b"\0" * 12)


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


def small_pages(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(history_module, "PAGE_ROWS", rows)
    defaults = History._page.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "limit", rows)


def large(number: int, size_bytes: int) -> SwarmEvent:
    """An event whose own value, with nothing cut out, has about this size."""
    return event(number, tool_call=ToolCall(name="t", result=os.urandom(size_bytes // 2).hex()))


def digest(content: bytes) -> bytes:
    return bytes.fromhex(content_hash(content))


def check_every_range(history: History, data: list[bytes]) -> None:
    versions = [each.version for each in history.events()]
    assert versions == sorted(set(versions))
    assert len(versions) == len(data)
    edges = range(-1, len(versions))
    for first, last in itertools.product(edges, edges):
        after = versions[first] if first >= 0 else None
        through = versions[last] if last >= 0 else None
        expected = data[first + 1 : None if through is None else last + 1]
        assert [each.data for each in history.events(after=after, through=through)] == expected
        assert [each.data for each in history.events(after=after, through=through, reverse=True)] == expected[::-1]


def test_more_events_than_a_page(hub: Hub) -> None:
    count = 2 * history_module.PAGE_ROWS + 50
    data = [event(number).SerializeToString() for number in range(count)]
    for start in range(0, count, 700):
        hub.put(*data[start : start + 700])
    history = hub.history()
    stored = list(history.events())
    assert [each.data for each in stored] == data
    assert list(history.events(reverse=True)) == stored[::-1]
    assert list(history.events(after=stored[999].version)) == stored[1000:]
    assert list(history.events(through=stored[999].version, reverse=True)) == stored[999::-1]


@pytest.mark.parametrize("rows", [4, 5, 7, 1000])
def test_every_range_across_page_borders(hub: Hub, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Events of one to three chunks, so that pages end within one."""
    small_pages(monkeypatch, rows)
    sizes = [0, 0, 2 * CHUNK_BYTES + 5, 0, CHUNK_BYTES + 5, CHUNK_BYTES + 5, 0, 0, 2 * CHUNK_BYTES + 5, 0]
    events = [large(number, size) for number, size in enumerate(sizes)]
    for each in events:
        hub.put(each)
    check_every_range(hub.history(), [each.SerializeToString() for each in events])


@pytest.mark.parametrize("size_bytes", [CHUNK_BYTES - 200, CHUNK_BYTES, 3 * CHUNK_BYTES, 1_000_000])
def test_large_events(hub: Hub, size_bytes: int) -> None:
    events = [large(1, size_bytes), event(2), large(3, size_bytes)]
    hub.put(*events)
    assert hub.data() == [each.SerializeToString() for each in events]
    last = hub.history().version_of_event(event(3).event_id)
    assert last is not None
    assert hub.history().event(last).data == events[2].SerializeToString()


def test_every_size_about_a_chunk(hub: Hub) -> None:
    """The value's last chunk may be full, or nearly."""
    frame = len(large(1, 0).SerializeToString())
    events = [
        event(number, tool_call=ToolCall(name="t", result="x" * (CHUNK_BYTES - frame - 30 + number)))
        for number in range(40)
    ]
    for start in range(0, 40, 5):
        hub.put(*events[start : start + 5])
    assert hub.data() == [each.SerializeToString() for each in events]


@pytest.mark.parametrize(
    "content",
    [
        b"x" * LIFT_FROM_BYTES,
        b"x" * (LIFT_FROM_BYTES - 1),
        b"ab" * 4_000,
        os.urandom(1_000),
        os.urandom(CHUNK_BYTES - 1),  # stored raw, with the byte that says so: exactly one chunk
        os.urandom(CHUNK_BYTES),
        os.urandom(2 * CHUNK_BYTES - 1),
        b"y" * 900_000,
        os.urandom(900_000),
        b"",
    ],
    ids=lambda content: str(len(content)),
)
def test_content_is_cut_out_and_comes_back(hub: Hub, content: bytes) -> None:
    events = [event(1, state_change=write("a", content)), event(2, state_change=write("b", content, b"before"))]
    for each in events:
        hub.put(each)
    assert hub.data() == [each.SerializeToString() for each in events]
    source = hub.history().content_sources([digest(content), bytes(32)])
    assert source[0] is not None
    assert source[1] is None
    if len(content) >= LIFT_FROM_BYTES:
        assert hub.history().blobs([digest(content)]) == [content]
    else:
        with pytest.raises(DamagedError, match="missing"):
            hub.history().blobs([digest(content)])


def test_content_that_stands_elsewhere_in_the_event_too(hub: Hub) -> None:
    text = "word " * 80
    change = write("a", text.encode(), diff_patch=text, renamed_from="b")
    made = event(1, session_id=text, correlation_id=text + text, state_change=change)
    overlapping = event(2, session_id="w" * 700, state_change=write("a", b"w" * 300))
    events = [made, overlapping]
    hub.put(*events)
    assert hub.data() == [each.SerializeToString() for each in events]


def test_a_blob_is_stored_once_in_its_tenant_and_unknown_to_others(hub: Hub, engine: Engine) -> None:
    content = os.urandom(50_000)

    def stored_bytes(tenant: str) -> int:
        prefix = engine.directory((hub.root, tenant), create=False)
        assert prefix is not None
        pairs = engine.run(lambda transaction: transaction.get_range(prefix, prefix + b"\xff"))
        return sum(len(value) for _, value in pairs)

    hub.put(event(1, state_change=write("a", content)), event(2, state_change=write("b", content)))
    hub.land(hub.message(event(3, SAME_TENANT, state_change=write("c", content)), project=SAME_TENANT))
    hub.land(hub.message(event(4, OTHER_TENANT), project=OTHER_TENANT))
    assert stored_bytes("acme") == len(content) + 1
    assert stored_bytes("umbrella") == 0
    assert hub.history(SAME_TENANT).blobs([digest(content)]) == [content]
    with pytest.raises(DamagedError, match="missing"):
        hub.history(OTHER_TENANT).blobs([digest(content)])
    hub.land(hub.part(content, OTHER_TENANT))
    assert hub.history(OTHER_TENANT).blobs([digest(content)]) == [content]


def test_parts_are_had_again_whatever_their_size(hub: Hub) -> None:
    parts = [b"", b"x", os.urandom(CHUNK_BYTES - 1), os.urandom(500_000), b"z" * 500_000]
    hub.land(hub.message(event(1)), *(hub.part(part) for part in parts + parts))
    assert hub.history().blobs([digest(part) for part in parts]) == parts


def test_no_event_no_version(hub: Hub) -> None:
    hub.put(event(1))
    with pytest.raises(NotFoundError, match="no event at version"):
        hub.history().event(NEVER)
    assert hub.history().named("c2") is None
    assert hub.history().commits("abcd") == {}
    with pytest.raises(NotFoundError, match="no event of commit"):
        hub.history().commit_versions("abcd")


def test_commits_by_abbreviation(hub: Hub) -> None:
    one, other, longer = "abcd" + "0" * 36, "abce" + "0" * 36, "abcd" + "0" * 36 + "77"
    commits = [one, other, one, "", "ABCD", "x" * 300, one + "\0"]
    hub.put(*(event(number, related_commit_hash=commit) for number, commit in enumerate(commits)))
    history = hub.history()
    versions = [each.version for each in history.events()]
    assert history.commits("abce") == history.commits(other) == {other: versions[1]}
    assert len(history.commits("abc")) == 2
    assert history.commits(one)[one] == versions[2]
    assert history.commit_versions(one) == (versions[0], versions[2])
    assert history.commit_versions(one + "\0") == (versions[6], versions[6])
    assert history.commits("abcf") == history.commits("x") == {}
    hub.put(event(20, related_commit_hash=longer))
    assert history.commits(longer) == {longer: history.head().version}
    assert history.commits(one)[one] == versions[2]


def test_the_last_checkpoint_of_a_name(hub: Hub) -> None:
    names = ["v1", "v10", "v1", "v", "ü" * 200]
    hub.put(*(event(number, checkpoint=Checkpoint(name=name)) for number, name in enumerate(names)))
    versions = [each.version for each in hub.history().events()]
    found = [hub.history().named(name) for name in names]
    assert [named and named.version for named in found] == [
        versions[2],
        versions[1],
        versions[2],
        versions[3],
        None,
    ]


@pytest.mark.parametrize("rows", [2, 3, 1000])
def test_path_changes_come_by_path_and_then_in_order(hub: Hub, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    small_pages(monkeypatch, rows)
    x, y = b"x", b"y"
    rename = write("b", y, x, renamed_from="a", operation=Operation.OPERATION_RENAME)
    changes = [
        write("b", x),
        write("a", x),
        write("a/c", y),
        rename,
        delete("b", y),
        patch(r"\xff", x, y, "@@"),
        write("a", y),
    ]
    for number, change in enumerate(changes):
        hub.put(event(number, state_change=change), event(100 + number, decision=AgentDecision()))
    history = hub.history()
    versions = [each.version for each in history.events()][::2]
    hashes = {digest(x): "x", digest(y): "y", b"": ""}

    def lives(through: Version | None) -> list[tuple[str, int, str, str]]:
        found = history.path_changes(through=through)
        return [(path, versions.index(v), hashes[c.previous], hashes[c.digest]) for path, v, c in found]

    expected = [
        ("\\xff", 5, "x", "y"),
        ("a", 1, "", "x"),
        ("a", 3, "x", ""),
        ("a", 6, "", "y"),
        ("a/c", 2, "", "y"),
        ("b", 0, "", "x"),
        ("b", 3, "", "y"),
        ("b", 4, "y", ""),
    ]
    assert lives(None) == expected
    for number, version in enumerate(versions):
        assert lives(version) == [life for life in expected if life[1] <= number]
    renamed = next(change for path, _, change in history.path_changes() if path == "b" and change.operation == 4)
    assert (renamed.mode, renamed.occurred_us, renamed.recorded_us) == (
        FILE_MODE,
        BEGAN_US + 3_000_000,
        BEGAN_US + 4_000_000,
    )
    assert hub.history(PROJECT).head().count == 2 * len(changes)


def test_waiting_ends_with_the_next_event(hub: Hub) -> None:
    hub.put(event(1))
    head = hub.history().head().version
    assert not hub.history().wait_past(head, 0.05)
    landing = Thread(target=lambda: hub.put(event(2)))
    landing.start()
    assert hub.history().wait_past(head, 30)
    landing.join()
    # What landed before the question was asked is there at once.
    assert hub.history().wait_past(head, 30)
