"""Read and write rankings in TREC's run format, `question Q0 document rank score tag` a line."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.errors import SourceError
from rag.evaluation.report import write_text

_BEFORE_DOCUMENT, _AFTER_DOCUMENT = 2, 3


def write_run(file: str | Path, run: Mapping[str, Sequence[str]], tag: str) -> None:
    """Write rankings, tab-separated.

    trec_eval sorts by score and not by rank: the score counts down from the number of documents to
    1, so that the order stays whatever the scores of the search were.

    Raises:
        SourceError: if a question's id or the tag holds white space, or the file cannot be written.
    """
    for name in (*run, tag):
        if len(name.split()) != 1:
            raise SourceError(str(file), f"{name!r} cannot stand in a run: it is not one word")
    lines = [
        f"{question}\tQ0\t{document}\t{rank}\t{len(documents) - rank + 1}\t{tag}\n"
        for question, documents in run.items()
        for rank, document in enumerate(documents, start=1)
    ]
    write_text(Path(file), "".join(lines))


def read_run(file: str | Path) -> dict[str, list[tuple[str, float]]]:
    """Read rankings: question id -> documents with their scores, best first.

    Sorted as trec_eval does: by score, ties by the document's name in reverse. A document's name
    may hold blanks, as in some corpora.

    Raises:
        SourceError: if the file cannot be read, or a line cannot be used.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(str(file), f"cannot be read: {error}") from error
    run: dict[str, dict[str, float]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        question, document, score = _parse_line(line, f"{file}", number)
        if document in run[question]:
            raise SourceError(str(file), f"line {number} ranks {document!r} again")
        run[question][document] = score
    return {
        question: sorted(scores.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)
        for question, scores in run.items()
    }


def _parse_line(line: str, file: str, number: int) -> tuple[str, str, float]:
    before = line.split(maxsplit=_BEFORE_DOCUMENT)
    after = before[-1].rsplit(maxsplit=_AFTER_DOCUMENT)
    try:
        (question, _, _), (document, _, score, _) = before, after
        number_of = float(score)
        if not math.isfinite(number_of):
            raise ValueError
        return question, document, number_of
    except ValueError:
        reason = f"line {number} is not `question Q0 document rank score tag`"
        raise SourceError(file, reason) from None
