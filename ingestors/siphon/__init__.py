"""The sink for the archive: Parquet files on S3, named by manifests; and merging small files into larger ones."""

from ingestors.siphon.sink import SiphonSink

__all__ = ["SiphonSink"]
