"""The ClickHouse gateway: one process that owns chDB on a data folder and answers ClickHouse's HTTP protocol.

chDB is ClickHouse's own engine as a library, and lets one process hold a data folder. This process does, on loopback,
so that clickhouse-connect, curl and BI tools reach it as they reach a server.
"""
