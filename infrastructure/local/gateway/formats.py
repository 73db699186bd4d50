"""The Content-Type of each output format, as a ClickHouse server gives it."""

from __future__ import annotations

DEFAULT_FORMAT = "TabSeparated"

_TYPES = {
    "JSONEACHROW": "application/x-ndjson; charset=UTF-8",
    "JSONCOMPACTEACHROW": "application/x-ndjson; charset=UTF-8",
    "JSONSTRINGSEACHROW": "application/x-ndjson; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "MARKDOWN": "text/markdown; charset=UTF-8",
    "NATIVE": "application/octet-stream",
    "PARQUET": "application/octet-stream",
    "ARROW": "application/octet-stream",
    "ARROWSTREAM": "application/octet-stream",
    "ORC": "application/octet-stream",
    "AVRO": "application/octet-stream",
    "PROTOBUF": "application/octet-stream",
    "PROTOBUFLIST": "application/octet-stream",
    "MSGPACK": "application/octet-stream",
    "NPY": "application/octet-stream",
    "BSONEACHROW": "application/octet-stream",
    "RAWBLOB": "application/octet-stream",
}
_PREFIXES = {
    "JSON": "application/json; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TABSEPARATED": "text/tab-separated-values; charset=UTF-8",
    "ROWBINARY": "application/octet-stream",
}


def content_type(format_name: str) -> str:
    """The Content-Type of ``format_name``."""
    name = format_name.upper()
    if name.startswith("CSVWITHNAMES"):
        return "text/csv; charset=UTF-8; header=present"
    by_prefix = (kind for prefix, kind in _PREFIXES.items() if name.startswith(prefix))
    return _TYPES.get(name) or next(by_prefix, "text/plain; charset=UTF-8")
