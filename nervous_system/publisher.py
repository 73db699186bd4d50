"""Sends a project's events to the log from ordinary, synchronous code.

One batch is on its way at a time: a second one sent before the first is acknowledged could overtake it when the first
must be sent again, and the order within a project is what everything later rests on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import uuid
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client

from nervous_system import bus, subjects
from nervous_system.errors import ContractError, UnavailableError
from nervous_system.events import BATCH_LIMIT_BYTES, BATCH_LIMIT_EVENTS, EVENT_LIMIT_BYTES, encode_batch, now_us
from nervous_system.inquiries import Inquiry
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.telemetry import hops

T = TypeVar("T")

# How many messages may wait for the one on its way before the producer is held back.
QUEUE_LIMIT_MESSAGES = 16


@dataclass(frozen=True, slots=True)
class _Message:
    subject: str
    payload: bytes
    message_id: str
    headers: dict[str, str]


class Publisher:
    """A connection to the log for one project. Safe to use from several threads.

    Raises, from every method: UnavailableError where the hub does not acknowledge, AccessError where it refuses the
    token. After an error nothing more is sent.
    """

    def __init__(self, settings: Settings, project: ProjectName) -> None:
        self._project = project
        self._process_id = os.getpid()
        self._lock = threading.RLock()
        self._room = threading.BoundedSemaphore(QUEUE_LIMIT_MESSAGES)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._sent_parts: set[str] = set()
        self._failure: BaseException | None = None
        self.last_sequence = 0
        """Stream sequence of the last acknowledged message; 0 before the first."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="publisher", daemon=True)
        self._thread.start()
        try:
            self._client: Client = self._wait(self._open(settings))
        except BaseException:
            self._stop_loop()
            raise

    @property
    def stream(self) -> StreamIdentity:
        """The stream that ``last_sequence`` counts in."""
        return self._stream

    def put(self, event: bytes) -> None:
        """Queues a serialised event, blocking while the queue is full; raises ContractError where it is too large."""
        if len(event) > EVENT_LIMIT_BYTES:
            raise ContractError(
                f"An event of {len(event):,} bytes is above the {EVENT_LIMIT_BYTES:,} allowed: record its long texts "
                "as files, which may be of any size."
            )
        with self._lock:
            self._raise_failure()
            if len(self._pending) >= BATCH_LIMIT_EVENTS or self._pending_bytes + len(event) > BATCH_LIMIT_BYTES:
                self._send_pending()
            # Last, so that an event is either taken or its caller has an error.
            self._pending.append(event)
            self._pending_bytes += len(event)

    def put_part(self, part: bytes) -> bytes:
        """Queues one part of a large content, to be called before ``put`` of the event that names it.

        Returns:
            SHA-256 of the part, 32 bytes.
        """
        digest = hashlib.sha256(part)
        name = digest.hexdigest()
        with self._lock:
            if name not in self._sent_parts:
                subject = subjects.published(self._project, subjects.BLOBS)
                # An id that can be guessed could be used up by another producer, of another tenant even.
                message_id = str(uuid.uuid4())
                self._await_room()
                self._enqueue(_Message(subject, part, message_id, {subjects.PART_HASH_HEADER: name}))
                self._sent_parts.add(name)
        return digest.digest()

    def flush(self) -> None:
        """Returns once everything that was put is acknowledged: on disk in the log."""
        with self._lock:
            self._raise_failure()
            self._send_pending()
            self._wait(self._queue.join())
            self._raise_failure()

    def close(self) -> None:
        """Gives up what is not acknowledged yet and disconnects; call ``flush`` first."""
        if self._loop.is_closed() or os.getpid() != self._process_id:
            return
        self._failure = self._failure or UnavailableError("This publisher was closed: make another one.")
        self._wait(self._shut())
        self._stop_loop()

    def _send_pending(self) -> None:
        if not self._pending:
            return
        self._await_room()
        batch = encode_batch(self._pending)
        self._pending, self._pending_bytes = [], 0
        self._enqueue(_Message(subjects.published(self._project, subjects.EVENTS), batch, str(uuid.uuid4()), {}))

    def _await_room(self) -> None:
        """Returns once one more message may be queued. Interrupted here, nothing has been taken and nothing is lost."""
        self._raise_failure()
        self._room.acquire()

    def _enqueue(self, message: _Message) -> None:
        self._raise_failure()
        self._loop.call_soon_threadsafe(self._queue.put_nowait, message)

    def _raise_failure(self) -> None:
        if os.getpid() != self._process_id:
            raise UnavailableError("A connection to the log does not outlive a fork: make one in each process.")
        if self._failure is not None:
            raise self._failure

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result()

    async def _open(self, settings: Settings) -> Client:
        client = await bus.connect(settings)
        self._context = client.jetstream()
        try:
            if settings.nats_tenant:
                self._stream = (await Inquiry(client, settings.nats_tenant).log()).identity
            else:
                self._stream = await bus.ensure_stream(self._context, settings)
        except (TimeoutError, nats.errors.Error) as error:
            await client.close()
            raise UnavailableError(f"NATS at {settings.nats_url} does not answer: see `enchanted status`.") from error
        except BaseException:
            await client.close()
            raise
        self._queue: asyncio.Queue[_Message] = asyncio.Queue()
        self._sender = asyncio.create_task(self._send_all())
        return client

    async def _send_all(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                if self._failure is None:
                    headers = {**message.headers, hops.PUBLISHED_HEADER: str(now_us())}
                    acknowledgement = await bus.publish(
                        self._context, message.subject, message.payload, message.message_id, headers
                    )
                    self.last_sequence = max(self.last_sequence, acknowledgement.seq)
            except Exception as error:
                # Kept for the producer, which meets it at its next call; what follows in the queue is not sent.
                self._failure = error
            finally:
                self._queue.task_done()
                self._room.release()

    async def _shut(self) -> None:
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)
        # Whoever still waits in another thread is let go, and meets the failure.
        while not self._queue.empty():
            self._queue.get_nowait()
            self._queue.task_done()
            self._room.release()
        await self._client.close()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
