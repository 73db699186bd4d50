"""The OTLP/HTTP receiver: takes spans and answers once what they became is on disk.

Source: OpenTelemetry Protocol 1.x, "OTLP/HTTP", https://opentelemetry.io/docs/specs/otlp/#otlphttp.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from nervous_system.capture.findings import Finding
from nervous_system.capture.otlp.mapping import findings_of
from nervous_system.capture.otlp.spans import Span, read_json, read_protobuf, spans_of
from nervous_system.errors import ContractError, EnchantedError

PROTOBUF, JSON = "application/x-protobuf", "application/json"
TRACES_PATH = "/v1/traces"
MAX_BODY_BYTES = 64 * 1024 * 1024
RETRY_AFTER_S = 5
# As in google.rpc.Code, which the answer's Status names.
_INVALID, _NOT_FOUND, _EXHAUSTED, _UNAVAILABLE = 3, 5, 8, 14

Keep = Callable[[list[Finding]], list[str]]
"""Keeps findings and returns once they are on disk; gives why, for each that can never be kept."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Spans in, findings out.

    Args:
        keep: called in a thread, one call at a time.
        agent: who did it, where the spans do not name an agent.
        all_spans: whether spans that are nothing of an agent's are kept too.
        max_body_bytes: of a request, unpacked.
    """

    keep: Keep
    agent: str = ""
    all_spans: bool = False
    max_body_bytes: int = MAX_BODY_BYTES

    def application(self) -> web.Application:
        """The web application; a request's gzip or deflate is undone before it is measured."""
        app = web.Application(client_max_size=self.max_body_bytes, middlewares=[_explain])
        turn = asyncio.Lock()

        async def export(request: web.Request) -> web.Response:
            kind = _content_type(request)
            body = await request.read()
            traces = await asyncio.to_thread(read_json if kind == JSON else read_protobuf, body)
            async with turn:
                answer = await asyncio.to_thread(self._take, list(spans_of(traces)))
            return _answer(answer, kind)

        app.router.add_post(TRACES_PATH, export)
        return app

    def _take(self, spans: list[Span | str]) -> ExportTraceServiceResponse:
        faults = [span for span in spans if isinstance(span, str)]
        good = [span for span in spans if isinstance(span, Span)]
        findings = findings_of(good, agent=self.agent, all_spans=self.all_spans)
        if findings:
            faults += self.keep(findings)
        if not faults:
            return ExportTraceServiceResponse()
        _log.warning("%d spans were not kept; the first: %s", len(faults), faults[0])
        partial = ExportTracePartialSuccess(rejected_spans=len(faults), error_message=" ".join(faults[:5]))
        return ExportTraceServiceResponse(partial_success=partial)


def _content_type(request: web.Request) -> str:
    if request.content_type not in (PROTOBUF, JSON):
        raise web.HTTPUnsupportedMediaType(text=f"Send {PROTOBUF} or {JSON}, not {request.content_type}.")
    return request.content_type


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as OTLP has it: a Status in the request's own form, 4xx for what sending again does not mend."""
    try:
        return await handler(request)
    except ContractError as error:
        return _failure(request, 400, _INVALID, str(error))
    except (web.RequestPayloadError, web.HTTPRequestEntityTooLarge) as error:
        too_large = isinstance(error, web.HTTPRequestEntityTooLarge)
        sentence = str(error) if too_large else "The body does not unpack by its Content-Encoding."
        return _failure(request, 413 if too_large else 400, _EXHAUSTED if too_large else _INVALID, sentence)
    except web.HTTPNotFound:
        return _failure(request, 404, _NOT_FOUND, f"Only traces are taken, at {TRACES_PATH}.")
    except web.HTTPException as error:
        return _failure(request, error.status, _INVALID, error.text or error.reason)
    except (EnchantedError, OSError) as error:
        _log.warning("Spans could not be kept: %s", error)
        return _failure(request, 503, _UNAVAILABLE, str(error))


def _answer(message: ExportTraceServiceResponse, kind: str) -> web.Response:
    body = MessageToJson(message).encode() if kind == JSON else message.SerializeToString()
    return web.Response(body=body, content_type=kind)


def _failure(request: web.Request, status: int, code: int, sentence: str) -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if request.content_type == JSON:
        body = json.dumps({"code": code, "message": sentence}).encode()
        return web.Response(status=status, body=body, content_type=JSON, headers=headers)
    return web.Response(status=status, body=_status(code, sentence), content_type=PROTOBUF, headers=headers)


def _status(code: int, sentence: str) -> bytes:
    # A google.rpc.Status has the same fields by number and type, and its own package need not be installed.
    return ExportTracePartialSuccess(rejected_spans=code, error_message=sentence).SerializeToString()
