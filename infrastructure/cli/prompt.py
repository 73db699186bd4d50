"""The prompt of ``enchanted sql``: questions over several lines, completion, and a history that stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click
from clickhouse_connect.driver.client import Client
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from infrastructure.cli import answers, completion
from infrastructure.cli.answers import FORMATS, Format
from nervous_system.errors import EnchantedError

HISTORY = "sql_history"
LEAVING = frozenset(("exit", "quit", r"\q"))
UPRIGHT = r"\G"
HELP = (
    r"""A question ends with ; and may have several lines; one that ends with \G is answered a line a column.
Tab completes, arrows go through what was asked before, Ctrl-R searches it.
  \format NAME  how rows are written from now on: """
    + ", ".join(FORMATS)
    + r""", or one of ClickHouse's
  SHOW TABLES;  what there is        DESCRIBE swarm_events;  its columns
  help          this                 exit, \q or Ctrl-D      leave"""
)


class Questions(FileHistory):
    """The history: of what was typed, whatever can be asked again."""

    def store_string(self, string: str) -> None:
        """Keeps it for this session and later ones."""
        if string.strip().rstrip(";").lower() not in LEAVING | {"help"}:
            super().store_string(string)


class SqlCompleter(Completer):
    """Completes from what ClickHouse has, which is asked for once, at the first key."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._names: completion.Names | None = None

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """The words that may stand at the cursor."""
        if self._names is None:
            self._names = completion.of_database(self._client)
        before = document.text_before_cursor
        start = -len(completion.word_at_end(before))
        for each in completion.suggestions(self._names, before, document.text_after_cursor):
            yield Completion(each.word, start, display_meta=each.kind)


def run(client: Client, chosen: Format, home: Path) -> None:
    """Takes questions until the user leaves.

    Args:
        client: of the ClickHouse that answers.
        chosen: how rows are written, until the user chooses another format.
        home: the folder in which the history is kept.
    """
    session = _session(client, home)
    click.echo("Questions end with ; · help tells more · exit leaves.", err=True)
    while True:
        try:
            text = session.prompt().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.rstrip(";").lower() in LEAVING:
            return
        chosen = _act(client, text, chosen)


def _act(client: Client, text: str, chosen: Format) -> Format:
    """Does what was typed; returns the format that is chosen from now on."""
    command, _, argument = text.rstrip(";").partition(" ")
    if command == r"\format":
        return answers.named(argument.strip()) if argument.strip() else chosen
    if text.rstrip(";").lower() == "help":
        click.echo(HELP, err=True)
    elif text.strip("; \n"):
        upright = text.removesuffix(UPRIGHT)
        _ask(client, upright, chosen if upright == text else FORMATS["vertical"])
    return chosen


def _ask(client: Client, question: str, chosen: Format) -> None:
    began_s = time.monotonic()
    try:
        answers.answer(client, question, chosen)
        click.echo(f"{time.monotonic() - began_s:.3f} s", err=True)
    except EnchantedError as error:
        click.echo(str(error), err=True)
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)


def _session(client: Client, home: Path) -> PromptSession[str]:
    home.mkdir(parents=True, exist_ok=True)
    history = home / HISTORY
    # Questions quote what agents said: they are for nobody else.
    history.touch(mode=0o600)
    return PromptSession(
        "sql> ",
        multiline=True,
        prompt_continuation="...> ",
        history=Questions(str(history)),
        completer=ThreadedCompleter(SqlCompleter(client)),
        complete_while_typing=False,
        key_bindings=_keys(),
        enable_history_search=True,
    )


def is_whole(text: str) -> bool:
    """Whether Enter sends the text instead of beginning another line."""
    typed = text.strip()
    is_word = typed.lower() in LEAVING | {"", "help"} or typed.startswith("\\")
    return is_word or typed.endswith((";", UPRIGHT))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=Condition(lambda: is_whole(get_app().current_buffer.text)))
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys
