"""NATS as it is deployed: each tenant's credentials write its own subjects, and learn nothing of another's."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from nats.js import api

from infrastructure.deployment.folder import Folder, Plan
from ingestors.desk import Desk
from nervous_system import bus, inquiries, subjects
from nervous_system.errors import AccessError, UnavailableError
from nervous_system.inquiries import Inquiry
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from syncer.log import Log
from tests.integration.deployed import running_nats
from tests.integration.stack_process import PATIENCE_S
from tests.integration.syncing import Edge
from tests.samples import event

SECRET = b"the other tenant's words"
QUICK_S = 0.3


class Hub:
    """The deployed log, and who connects to it as whom."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._settings = Settings(home=folder, nats_url=url)

    def settings(self, user: str, secret: str = "", tenant: str = "") -> Settings:
        password = (self._folder / "secrets" / (secret or f"nats_{user}")).read_text()
        return replace(self._settings, nats_user=user, nats_password=password, nats_tenant=tenant)

    def tenant(self, name: str) -> Settings:
        return self.settings(f"tenant_{name}", f"nats_tenant_{name}", name)

    def run(self, work: Callable[[Client, Client, Client], Awaitable[None]]) -> None:
        """``work`` with connections of the ingestor, whose desk answers, of tenant acme and of tenant beta."""

        async def connected() -> None:
            settings = [self.settings("ingestor"), self.tenant("acme"), self.tenant("beta")]
            clients = [await bus.connect(each) for each in settings]
            try:
                await bus.ensure_stream(clients[0].jetstream(), settings[0])
                await Desk(clients[0], settings[0]).open()
                await clients[0].flush()
                await work(*clients)
            finally:
                for client in clients:
                    await client.close()

        asyncio.run(connected())


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("nats")
    deployment = Folder(root / "deployment")
    deployment.write(Plan(("acme", "beta")))
    with running_nats(deployment.root, root / "server") as server:
        yield Hub(deployment.root, server.url)


async def answer(client: Client, subject: str, about: object = None) -> bytes:
    """What is answered, empty where nobody does within a moment."""
    data = b"" if about is None else json.dumps(about).encode()
    try:
        return (await client.request(subject, data, timeout=QUICK_S)).data
    except (TimeoutError, nats.errors.Error):
        return b""


async def stored_subjects(client: Client) -> dict[str, int]:
    info = await client.jetstream().stream_info("SWARM", subjects_filter=">")
    return {".".join(name.split(".")[2:]): count for name, count in (info.state.subjects or {}).items()}


def test_a_tenant_writes_its_own_subjects_alone(hub: Hub) -> None:
    async def work(ingestor: Client, acme: Client, _beta: Client) -> None:
        await acme.jetstream().publish("swarm.acme.own.events", b"1", headers={api.Header.MSG_ID.value: "1"})
        await acme.jetstream().publish("swarm.acme.own.blobs", b"2")
        for subject in ("swarm.beta.own.events", "swarm.0.beta.own.events", "dead.ledger.0", "swarm.acme.own.other"):
            assert await answer(acme, subject) == b"", subject
        # The server answers where a message says; that must not be a way to write to others.
        await acme.publish("swarm.acme.own.events", SECRET, reply="swarm.beta.own.events")
        # What comes after it is stored after it, and after any answer to it.
        await acme.jetstream().publish("swarm.acme.own.events", b"3")
        assert await stored_subjects(ingestor) == {"acme.own.events": 3, "acme.own.blobs": 1}

    hub.run(work)


def test_a_tenant_reads_nothing_of_another(hub: Hub) -> None:
    async def work(ingestor: Client, acme: Client, beta: Client) -> None:
        refusals: list[str] = []

        async def heard(error: Exception) -> None:
            refusals.append(str(error))

        acme._error_cb = heard
        sequence = (await beta.jetstream().publish("swarm.beta.hidden.events", SECRET)).seq
        consumer = {"stream_name": "SWARM", "config": {"durable_name": "mine", "deliver_subject": "_INBOX.mine"}}
        asked: list[tuple[str, Any]] = [
            ("$JS.API.STREAM.INFO.SWARM", {"subjects_filter": ">"}),
            ("$JS.API.STREAM.NAMES", {}),
            ("$JS.API.STREAM.MSG.GET.SWARM", {"seq": sequence}),
            ("$JS.API.DIRECT.GET.SWARM", {"seq": sequence}),
            ("$JS.API.CONSUMER.CREATE.SWARM.mine", consumer),
            ("$JS.API.CONSUMER.MSG.NEXT.SWARM.ledger-p0", {"batch": 1}),
            ("$SYS.REQ.USER.INFO", {}),
            ("desk.beta.message", {"sequence": sequence}),
            ("desk.acme.message", {"sequence": sequence}),
            ("desk.acme.message", {"sequence": "hidden"}),
            ("desk.acme.landed", {"partition": "beta"}),
            ("desk.acme.nothing", {}),
        ]
        heard_all = [await answer(acme, subject, about) for subject, about in asked]
        for words in (*heard_all, *(refusal.encode() for refusal in refusals)):
            assert SECRET not in words
            assert b"hidden" not in words
        # Of another's message: that there is one, as the sequences of one's own tell too.
        assert json.loads(heard_all[8]) == {"error": "", "is_there": True, "message_id": "", "partition": -1}
        overheard = [await acme.subscribe(each) for each in (">", "swarm.>", "desk.>", "_INBOX.>")]
        await acme.flush()
        await beta.jetstream().publish("swarm.beta.hidden.events", SECRET)
        assert (await Inquiry(beta, "beta").message(sequence)).partition in range(4)
        await acme.flush()
        assert [each.pending_msgs for each in overheard] == [0, 0, 0, 0]
        assert await stored_subjects(ingestor)

    hub.run(work)


def test_the_desk_answers_about_ones_own(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(ingestor: Client, acme: Client, _beta: Client) -> None:
        header = {api.Header.MSG_ID.value: "the id"}
        acknowledged = await acme.jetstream().publish("swarm.acme.asked.events", b"x", headers=header)
        inquiry = Inquiry(acme, "acme")
        end = await inquiry.log()
        assert end.identity == bus.identity(await ingestor.jetstream().stream_info("SWARM"))
        assert end.last_sequence == acknowledged.seq
        found = await inquiry.message(acknowledged.seq)
        assert found.message_id == "the id"
        assert await inquiry.message(acknowledged.seq + 1_000) == type(found)()
        assert await inquiry.landed(found.partition) == 0
        name = subjects.consumer("ledger", found.partition)
        config = api.ConsumerConfig(durable_name=name, filter_subject=subjects.partition_filter(found.partition))
        await ingestor.jetstream().add_consumer("SWARM", config)
        pulled = await ingestor.jetstream().pull_subscribe_bind(name, "SWARM")
        for message in await pulled.fetch(10, timeout=QUICK_S):
            await message.ack_sync()
        assert await inquiry.landed(found.partition) > 0
        monkeypatch.setattr(inquiries, "ANSWER_WITHIN_S", QUICK_S)
        with pytest.raises(UnavailableError, match="ENCHANTED_NATS_TENANT"):
            await Inquiry(acme, "beta").log()

    hub.run(work)


NO_NUMBERS = [b"Infinity", b"NaN", b"1" * 400, b"1" * 5_000, b"1e999", b"-1", b"1.5", b'"1"', b"true", b"null", b"[1]"]


def test_a_question_that_cannot_be_read_is_said_to_be_one(hub: Hub) -> None:
    async def work(_ingestor: Client, acme: Client, _beta: Client) -> None:
        for data in (b"", b"\xff", b"[]", b"[" * 100_000, *(b'{"sequence": %b}' % number for number in NO_NUMBERS)):
            for subject, asked in (("message", data), ("landed", data.replace(b"sequence", b"partition"))):
                told = json.loads(await answered(acme, f"desk.acme.{subject}", asked))
                assert told["error"] == "the question cannot be read", asked[:40]
        assert (await Inquiry(acme, "acme").log()).stream

    hub.run(work)


async def answered(client: Client, subject: str, data: bytes) -> bytes:
    """What is answered; the server may still give a question to a desk that has just gone."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return (await client.request(subject, data, timeout=PATIENCE_S)).data
        except nats.errors.NoRespondersError:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(QUICK_S / 10)


def test_a_syncer_works_with_a_tenants_credentials(hub: Hub, tmp_path: Path) -> None:
    edge = Edge(replace(hub.tenant("acme"), outbox=str(tmp_path)), ProjectName("acme", "synced"))
    edge.record(3, large=True)

    async def work(_ingestor: Client, _acme: Client, _beta: Client) -> None:
        outcome = await asyncio.to_thread(edge.sync)
        assert outcome.tally.events > 2
        # It was looked at, and nothing of it is sent again.
        again = await asyncio.to_thread(edge.sync)
        assert again.tally.events == 0
        assert outcome.trouble is None

    hub.run(work)


def test_a_publisher_works_with_a_tenants_credentials(hub: Hub) -> None:
    project = ProjectName("beta", "direct")

    def publish() -> int:
        publisher = Publisher(hub.tenant("beta"), project)
        publisher.put(event(1, project).SerializeToString())
        publisher.flush()
        publisher.close()
        return publisher.last_sequence

    async def work(_ingestor: Client, _acme: Client, beta: Client) -> None:
        sequence = await asyncio.to_thread(publish)
        assert (await Inquiry(beta, "beta").message(sequence)).message_id

    hub.run(work)


def test_wrong_credentials_are_refused(hub: Hub) -> None:
    for settings in (
        replace(hub.tenant("acme"), nats_password="wrong"),
        replace(hub.tenant("acme"), nats_user="tenant_beta"),
        replace(hub.tenant("acme"), nats_user="", nats_password=""),
        replace(hub.tenant("acme"), nats_user="", nats_password="", nats_token="token"),
    ):
        with pytest.raises(AccessError, match="ENCHANTED_NATS_USER"):
            asyncio.run(bus.connect(settings))


def test_nobody_answers_where_no_desk_is_open(hub: Hub) -> None:
    with pytest.raises(UnavailableError, match="ingestor"):
        asyncio.run(Log.open(hub.tenant("acme")))
