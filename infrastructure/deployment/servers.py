"""The servers' own words for the roles: NATS accounts, ClickHouse users, SeaweedFS identities. Pure.

Sources: https://docs.nats.io/running-a-nats-service/configuration/securing_nats,
https://clickhouse.com/docs/operations/settings/settings-users, SeaweedFS's wiki, Amazon-S3-API.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from xml.sax.saxutils import escape

from infrastructure.deployment import roles
from infrastructure.deployment.roles import ClickHouseRole, NatsRole

Secret = Callable[[str], str]
"""Gives the secret of that name."""

HUB = "HUB"
ANALYST_MEMORY_BYTES = 4_000_000_000
ANALYST_SECONDS = 60
_WRITTEN = "Written by `enchanted init-deployment`, and anew by its --force: change the roles instead."


def nats_accounts(tenants: Sequence[str], secret: Secret) -> str:
    """Accounts: the hub's, which has the log, and one for each tenant, which reaches its own subjects in it alone.

    A tenant's reply subjects are of its own account too, so that no answer of the server's can be sent elsewhere.
    """
    users = [_nats_user(name, secret(f"nats_{name}"), role) for name, role in roles.NATS.items()]
    exports = [f"{{ service: {_quoted(each)}, accounts: [{_account(t)}] }}" for t in tenants for each in _reached(t)]
    hub = f"  {HUB} {{\n    jetstream: enabled\n{_listed('users', users)}{_listed('exports', exports)}  }}\n"
    return f"# {_WRITTEN}\naccounts {{\n{hub}{''.join(_tenant_account(each, secret) for each in tenants)}}}\n"


def nats_cluster(servers: Sequence[str], password: str) -> str:
    """How the servers of a cluster find each other; nothing for a single one."""
    if len(servers) < 2:
        return f"# {_WRITTEN} One server: no routes.\n"
    routes = [f"nats://route:{password}@{server}:6222" for server in servers]
    authorization = f'authorization {{ user: route, password: "{password}" }}'
    block = f"  name: enchanted\n  port: 6222\n  {authorization}\n{_listed('routes', map(_quoted, routes))}"
    return f"# {_WRITTEN}\ncluster {{\n{block}}}\n"


def clickhouse_users(tenants: Sequence[str], secret: Secret) -> str:
    """The users of the roles and an analyst for each tenant, with hashes of their passwords; no user ``default``."""
    users = [_clickhouse_user(name, secret(f"clickhouse_{name}"), role) for name, role in roles.CLICKHOUSE.items()]
    analysts = [
        _clickhouse_user(f"analyst_{each}", secret(f"clickhouse_analyst_{each}"), roles.clickhouse_tenant(), each)
        for each in tenants
    ]
    # Two hyphens may not stand in a comment.
    comment = f"<!-- {_WRITTEN.replace('--', '')} -->\n"
    return f"{comment}<clickhouse>\n{_PROFILES}    <users>\n{''.join(users + analysts)}    </users>\n</clickhouse>\n"


def clickhouse_cluster(servers: Sequence[str], keepers: Sequence[str], password: str) -> str:
    """Where the keepers are, and how servers fetch each other's parts; nothing for a single server."""
    if len(servers) < 2:
        return "<!-- One server: no cluster. -->\n<clickhouse/>\n"
    nodes = "".join(f"        <node><host>{each}</host><port>9181</port></node>\n" for each in keepers)
    return (
        f"<clickhouse>\n    <zookeeper>\n{nodes}    </zookeeper>\n"
        '    <macros><shard>1</shard><replica from_env="ENCHANTED_CLICKHOUSE_REPLICA"/></macros>\n'
        "    <interserver_http_port>9009</interserver_http_port>\n"
        '    <interserver_http_host from_env="ENCHANTED_CLICKHOUSE_REPLICA"/>\n'
        f"    <interserver_http_credentials><user>interserver</user><password>{password}</password>"
        "</interserver_http_credentials>\n</clickhouse>\n"
    )


def s3_identities(secret: Secret) -> str:
    """The identities of the roles; the access key is the role's name."""
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": s3_access_key(name), "secretKey": secret(f"s3_{name}")}],
            "actions": list(role.actions),
        }
        for name, role in roles.S3.items()
    ]
    return json.dumps({"identities": identities}, indent=2) + "\n"


def s3_access_key(role: str) -> str:
    return f"enchanted-{role}"


def s3_security(secret: Secret) -> str:
    """SeaweedFS's ``security.toml``: nobody reads or writes past the S3 gateway."""
    parts = {
        "jwt.signing": "weed_volume_write",
        "jwt.signing.read": "weed_volume_read",
        "jwt.filer_signing": "weed_filer_write",
        "jwt.filer_signing.read": "weed_filer_read",
    }
    return f"# {_WRITTEN}\n" + "".join(f'[{part}]\nkey = "{secret(name)}"\n' for part, name in parts.items())


def _account(tenant: str) -> str:
    # Not the tenant's name alone, which may be that of the hub's account.
    return f"tenant_{tenant}"


def _reached(tenant: str) -> tuple[str, ...]:
    return f"swarm.{tenant}.*.*", f"desk.{tenant}.*"


def _tenant_account(tenant: str, secret: Secret) -> str:
    user = _nats_user(tenant, secret(f"nats_tenant_{tenant}"), roles.nats_tenant(tenant), prefix="tenant_")
    imports = [f"{{ service: {{ account: {HUB}, subject: {_quoted(each)} }} }}" for each in _reached(tenant)]
    return f"  {_account(tenant)} {{\n{_listed('users', [user])}{_listed('imports', imports)}  }}\n"


def _nats_user(name: str, password: str, role: NatsRole, prefix: str = "") -> str:
    answers = ', allow_responses: { max: 1, expires: "1m" }' if role.answers else ""
    publish, subscribe = (f"[{', '.join(map(_quoted, each))}]" for each in (role.publish, role.subscribe))
    permissions = f"{{ publish: {publish}, subscribe: {subscribe}{answers} }}"
    return f"{{ user: {_quoted(prefix + name)}, password: {_quoted(password)}, permissions: {permissions} }}"


def _listed(name: str, entries: Iterable[str]) -> str:
    lines = "".join(f"      {entry}\n" for entry in entries)
    return f"    {name}: [\n{lines}    ]\n" if lines else ""


def _quoted(text: str) -> str:
    return f'"{text}"'


_PROFILES = f"""    <profiles>
        <service>
            <async_insert>0</async_insert>
        </service>
        <analyst>
            <readonly>2</readonly>
            <max_memory_usage>{ANALYST_MEMORY_BYTES}</max_memory_usage>
            <max_execution_time>{ANALYST_SECONDS}</max_execution_time>
            <max_result_rows>1000000</max_result_rows>
            <max_threads>4</max_threads>
            <constraints>
                <max_memory_usage><min>1</min><max>{ANALYST_MEMORY_BYTES}</max></max_memory_usage>
                <max_execution_time><min>1</min><max>{ANALYST_SECONDS}</max></max_execution_time>
                <max_result_rows><min>1</min><max>1000000</max></max_result_rows>
                <max_threads><min>1</min><max>4</max></max_threads>
            </constraints>
        </analyst>
    </profiles>
    <quotas>
        <service/>
        <analyst>
            <interval>
                <duration>3600</duration>
                <queries>10000</queries>
                <execution_time>3600</execution_time>
            </interval>
        </analyst>
    </quotas>
"""


def _clickhouse_user(name: str, password: str, role: ClickHouseRole, tenant: str = "") -> str:
    grants = "".join(f"                <query>GRANT {escape(grant)}</query>\n" for grant in role.grants)
    filters = "".join(
        f"<{table}><filter>tenant_id = '{tenant}'</filter></{table}>"
        for table in (roles.TENANT_TABLES if tenant else ())
    )
    rows = f"            <databases><{roles.DATABASE}>{filters}</{roles.DATABASE}></databases>\n" if filters else ""
    return (
        f"        <{name}>\n"
        f"            <password_sha256_hex>{hashlib.sha256(password.encode()).hexdigest()}</password_sha256_hex>\n"
        "            <networks><ip>::/0</ip></networks>\n"
        f"            <profile>{role.profile}</profile>\n"
        f"            <quota>{role.profile}</quota>\n"
        f"            <grants>\n{grants}            </grants>\n{rows}"
        f"        </{name}>\n"
    )
