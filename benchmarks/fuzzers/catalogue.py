"""All targets by name."""

from __future__ import annotations

from fuzzers import files, indexes, questions, settings, sockets
from fuzzers.attempts import Target

TARGETS: dict[str, type[Target]] = {
    each.name: each
    for each in (
        files.ReaderProcesses,
        files.Parsers,
        indexes.IndexFolder,
        indexes.ExportedArchive,
        settings.ConfigurationFile,
        settings.Environment,
        settings.Templates,
        settings.IgnoreFile,
        sockets.DaemonServer,
        sockets.DaemonClient,
        sockets.ModelServer,
        questions.Queries,
        questions.Filters,
        questions.Claims,
        questions.QuestionFiles,
    )
}
