"""``enchanted init-deployment`` and ``enchanted prepare``: what containers need before they start."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import click

from infrastructure.deployment.folder import Folder, Plan
from nervous_system.errors import SettingsError
from nervous_system.settings import Settings

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REPLICATED = " ENGINE = Replicated('/clickhouse/databases/{}', '{{shard}}', '{{replica}}')"


def _checked(_context: click.Context, _parameter: click.Parameter, tenants: tuple[str, ...]) -> tuple[str, ...]:
    for tenant in tenants:
        if not _TENANT.fullmatch(tenant):
            raise click.BadParameter(f"{tenant!r} is no tenant: use letters, digits, '-' and '_', 1 to 64 of them.")
    return tenants


@click.command("init-deployment")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="deployment")
@click.option(
    "--tenant", "tenants", multiple=True, default=("main",), show_default=True, callback=_checked, help="Repeatable."
)
@click.option(
    "--cluster", "is_cluster", is_flag=True, help="Three servers of NATS and FoundationDB, two of ClickHouse."
)
@click.option(
    "--force",
    is_flag=True,
    help="Bring a deployment up to date, or add tenants to it: its secrets and the lines of its .env stay.",
)
def init_deployment(folder: Path, *, tenants: tuple[str, ...], is_cluster: bool, force: bool) -> None:
    """Write what docker-compose needs into FOLDER: random secrets, the servers' users and their rights, an .env.

    FOLDER is ./deployment where none is given. Every file is readable by its owner alone, as whom the containers run.
    To change a secret remove its file in FOLDER/secrets, then run this with --force and start the containers again.
    """
    written = Folder(folder).write(Plan(tenants, is_cluster), force=force)
    root = folder.expanduser().resolve()
    profile = "cluster" if is_cluster else "core"
    compose = f"docker compose --env-file {root}/.env --file infrastructure/docker-compose.yml"
    click.echo(f"Wrote {len(written)} files to {root}. Keep secrets/ where you keep passwords.\n")
    click.echo("Next, from the root of the repository:")
    click.echo("  docker build --file infrastructure/image/Dockerfile --tag enchanted:0.2.0 .")
    click.echo(f"  {compose} --profile {profile} --profile observability up --detach")
    click.echo(f"  {compose} --profile {profile} --profile observability ps")
    click.echo(f"Agents of {tenants[0]} sync with:")
    click.echo(f"  ENCHANTED_NATS_TENANT={tenants[0]} ENCHANTED_NATS_USER=tenant_{tenants[0]}")
    click.echo(f"  ENCHANTED_NATS_PASSWORD_FILE={root}/secrets/nats_tenant_{tenants[0]}")


@click.command()
@click.option(
    "--replicated",
    is_flag=True,
    envvar="ENCHANTED_CLICKHOUSE_REPLICATED",
    help="Make the database one that several ClickHouse servers keep.",
)
def prepare(*, replicated: bool) -> None:
    """Make ClickHouse's database and tables, and the archive's bucket, with the credentials of those who own them.

    Ingestors then need no more rights than to write. What is there already stays; so it can be run at every start.
    """
    settings = Settings.load()
    if not (settings.clickhouse_url or settings.s3_endpoint):
        raise SettingsError("There is nothing to prepare: set ENCHANTED_CLICKHOUSE_URL or ENCHANTED_S3_ENDPOINT.")
    if settings.clickhouse_url:
        _prepare_clickhouse(settings, replicated)
    if settings.s3_endpoint:
        from nervous_system.archive.objects import ObjectStore

        store = ObjectStore(settings)
        store.open()
        store.close()
        click.echo(f"The bucket {settings.s3_bucket} is there.")


def _prepare_clickhouse(settings: Settings, replicated: bool) -> None:
    from ingestors import clickhouse, schema

    name = settings.clickhouse_database
    if not _DATABASE.fullmatch(name):
        raise SettingsError(f"ENCHANTED_CLICKHOUSE_DATABASE={name} is no name: use letters, digits and '_'.")
    # In no database: the owner may see this one alone, which may not be there yet.
    first = clickhouse.connect(replace(settings, clickhouse_database=""))
    first.command(f"CREATE DATABASE IF NOT EXISTS {name}{_REPLICATED.format(name) if replicated else ''}")
    first.close()
    client = clickhouse.connect(settings)
    applied = schema.migrate(client)
    client.close()
    click.echo(f"The database {name} is up to date: {len(applied)} migrations applied.")
