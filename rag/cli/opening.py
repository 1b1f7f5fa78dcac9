"""Open what a command works with, by the settings that its options chose."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.cli.options import chosen_settings, config_file
from rag.cli.terminal import say
from rag.errors import TrustError

if TYPE_CHECKING:
    from rag.config import Config, ConfigTrace
    from rag.engine import RAG
    from rag.serving.daemon import DaemonRAG
    from rag.types import ProgressCallback


def read_config() -> Config:
    """Read the settings: the options of the command, above the environment and `rag.toml`.

    An unknown variable is printed as a warning. Somebody at a terminal is asked about a `rag.toml`
    that needs trust.

    Raises:
        TrustError: if it is not trusted.
        ConfigError: if a setting cannot be used.
    """
    return trace_settings().config


def trace_settings() -> ConfigTrace:
    """Read the settings as `read_config` does, with where they come from."""
    from rag.config import trace_config

    with warn_in_a_line():
        try:
            return trace_config(config_file(), arguments=chosen_settings())
        except TrustError as error:
            if not _is_at_terminal():
                raise
            from rag.cli.settings import ask_to_trust

            if not ask_to_trust(Path(error.file), error.keys):
                raise
            return trace_config(config_file(), arguments=chosen_settings())


def _is_at_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


@contextmanager
def warn_in_a_line() -> Iterator[None]:
    """Print each warning of the block that is meant for users as a line on standard error."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if category is UserWarning:
            say(f"rag: warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def open_rag(progress: ProgressCallback | None = None, config: Config | None = None) -> RAG:
    """Open a RAG in this process, with the settings of the command unless others are given.

    Raises:
        ConfigError: if a setting cannot be used.
    """
    from rag.engine import RAG

    return RAG(config=config or read_config(), progress=progress)


def open_to_ask(progress: ProgressCallback, *, for_answer: bool = False) -> RAG | DaemonRAG:
    """Open the daemon's RAG where a daemon runs, or else one in this process: to ask, not to write.

    With `for_answer`, say on standard error if a generator that the user chose will not write.

    Raises:
        ConfigError: if a setting cannot be used.
    """
    config = read_config()
    if for_answer:
        note_quoting(config)
    if config.daemon.use:
        from rag.serving.daemon import find_daemon

        folder = find_daemon()
        if folder is not None:
            from rag.serving.daemon import DaemonRAG

            return DaemonRAG(config, folder, lambda: open_rag(progress, config), progress)
    return open_rag(progress, config)


def note_quoting(config: Config) -> None:
    """Say on standard error if the user chose a generator that `auto` does not let write.

    Raises:
        ModelError: if there is no such generator.
    """
    generation, answering = config.generation, config.answering
    chosen = generation.served_model or generation.model
    if answering.way != "auto" or generation.model in ("extractive", type(generation)().model):
        return
    from rag.models import answers_better

    if not answers_better(chosen, answering.writers):
        from rag.generation import check_generator

        check_generator(generation.model)
        say(
            f"rag: {chosen} was not measured to answer better than a quotation, so passages are "
            "quoted: `--way generate` lets it write, and `answering.writers` lets `auto`",
            err=True,
        )
