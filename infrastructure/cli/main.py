"""The command ``enchanted``. Each command is loaded only when it is called, so that a missing extra costs nothing."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from nervous_system.errors import EnchantedError

# Where each command lives, in the order in which help lists them.
COMMANDS = {
    "up": "infrastructure.cli.stack:up",
    "status": "infrastructure.cli.stack:status",
    "doctor": "infrastructure.cli.doctoring:doctor",
    "down": "infrastructure.cli.stack:down",
    "record": "infrastructure.cli.recording:record",
    "watch": "infrastructure.cli.recording:watch",
    "import": "infrastructure.cli.imports:import_",
    "otlp": "infrastructure.cli.receiving:otlp",
    "install": "infrastructure.cli.hooks:install",
    "uninstall": "infrastructure.cli.hooks:uninstall",
    "hook": "infrastructure.cli.hooks:hook",
    "log": "infrastructure.cli.history:log",
    "timeline": "infrastructure.cli.timelines:timeline",
    "show": "infrastructure.cli.history:show",
    "ls": "infrastructure.cli.trees:ls",
    "cat": "infrastructure.cli.trees:cat",
    "diff": "infrastructure.cli.trees:diff",
    "why": "infrastructure.cli.reasons:why",
    "verify": "infrastructure.cli.verifying:verify",
    "restore": "infrastructure.cli.restoring:restore",
    "undo": "infrastructure.cli.undoing:undo",
    "fork": "infrastructure.cli.forking:fork",
    "checkpoint": "infrastructure.cli.checkpoints:checkpoint",
    "export": "infrastructure.cli.exporting:export",
    "sql": "infrastructure.cli.questions:sql",
    "sync": "infrastructure.cli.syncing:sync",
    "ingest": "infrastructure.cli.ingest:ingest",
    "dlq": "infrastructure.cli.deadletters:dlq",
    "snapshots": "infrastructure.cli.snapshots:snapshots",
    "init-deployment": "infrastructure.cli.deploying:init_deployment",
    "prepare": "infrastructure.cli.deploying:prepare",
    "janitor": "infrastructure.cli.janitor:janitor",
    "ledger": "infrastructure.cli.moving:ledger",
    "repartition": "infrastructure.cli.partitioning:repartition",
    "archive": "infrastructure.cli.archive:archive",
    "rebuild": "infrastructure.cli.rebuilding:rebuild",
}
# What to install for a module that an extra brings.
EXTRAS = {
    "pyarrow": "archive",
    "boto3": "archive",
    "botocore": "archive",
    "cryptography": "archive",
    "clickhouse_connect": "sql",
    "prompt_toolkit": "sql",
    "prometheus_client": "server",
    "fdb": "fdb",
    "chdb": "local",
    "psutil": "local",
    "aiohttp": "capture",
    "pathspec": "capture",
    "opentelemetry": "capture",
}
INTERRUPTED_EXIT_CODE = 130


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in their order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if _extra_of(error) is None:
                raise
            return _lacking(cmd_name, error)
        return command


def _lacking(name: str, error: ModuleNotFoundError) -> click.Command:
    """A command whose extra is not installed: the list of commands has it, and to call it tells what to install."""

    def explain() -> None:
        raise error

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    summary = f"Needs pip install 'enchanted-swarm[{_extra_of(error)}]'."
    return click.Command(name, callback=explain, help=summary, add_help_option=False, context_settings=anything)


def _extra_of(error: ModuleNotFoundError) -> str | None:
    return EXTRAS.get((error.name or "").partition(".")[0])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="enchanted-swarm", message="enchanted %(version)s")
def cli() -> None:
    """Flight recorder and time machine for swarms of AI agents.

    PROJECT is written tenant/project. Start with `enchanted up`.
    """


def main() -> None:
    """Runs the command line and exits: 0 done, 1 a check failed, 2 wrong input or a server away, 130 interrupted."""
    sys.exit(run())


def run() -> int:
    """Runs the command line; every expected failure is one sentence on stderr."""
    try:
        # Not by cli.main(): it ends the process with 1 where the reader of our output goes away.
        with cli.make_context("enchanted", sys.argv[1:]) as context:
            cli.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("Stopped.")
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # The reader of our output, such as head, has seen enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error)


def _explain(error: Exception) -> int:
    match error:
        case EnchantedError():
            _say(str(error))
            return error.exit_code
        case ModuleNotFoundError() if extra := _extra_of(error):
            _say(f"This command needs {error.name}, which is not installed: pip install 'enchanted-swarm[{extra}]'.")
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _say(f"The disk is full{_of(error)}: free space and run it again.")
        case OSError() if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            _say(f"{error.strerror}{_of(error)}: change its permissions, or name another place.")
        case _ if os.environ.get("ENCHANTED_DEBUG"):
            raise error
        case _:
            _say(
                f"{type(error).__name__}: {error}. This is a fault of ours; ENCHANTED_DEBUG=1 shows where it happened."
            )
    return 2


def _of(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


def _say(sentence: str) -> None:
    click.echo(f"enchanted: {sentence}", err=True)


if __name__ == "__main__":
    main()
