"""Manual pages -> questions by template, with the passages that answer them, or seem to.

    python -m rag.training.reader.manuals DIRECTORY --output manuals.jsonl.gz

DIRECTORY holds unpacked Debian packages (`apt-get download NAME && dpkg -x NAME*.deb DIRECTORY`);
pages are laid out by `man`. Asked are an option's default, what it does, and which option does
something; a passage is the option's entry among its neighbours.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from rag.processes import environment_without_keys
from rag.text.sentences import split_sentences
from rag.training.loop import say

_HEAD = re.compile(
    r"--?[A-Za-z@][\w-]*|[A-Z][A-Za-z]+=|[A-Z][a-z]+[A-Z]\w+|[a-z]+(?:[-_][a-z0-9]+)+"
    r"|[a-z][a-z-]+:(?=\s|$)"
)
_DEFAULT = re.compile(
    r"(?:\b(?:the\s+)?default(?:\s+value)?(?:\s+(?:is|are|of)|:)\s+(?:to\s+)?(?:typically\s+)?"
    r"|\bdefaults\s+to\s+(?:the\s+)?(?:value\s+(?:of\s+)?)?|\(default:?\s+)"
    r"(?P<value>\"[^\"]{1,40}\"|[^\s.,;()]+(?:\.\d+)?"
    r"(?:\s+(?:seconds?|minutes?|hours?|days?|bytes|[kKMG]i?B|ms|characters|lines|blocks|entries))?)",
    re.I,
)
_VAGUE = frozenset(
    """the a an to not that for set one this if and in when only level behavior behaviour value
    values mode file path directory all as from with where being always used it its no-op same
    taken of is are""".split()  # noqa: SIM905
)
_DOING = re.compile(
    r"^(?P<verb>Print|Show|Display|Use|Enable|Disable|Set|Create|Remove|Delete|List|Write|Read|Force"
    r"|Ignore|Skip|Run|Change|Specify|Suppress|Add|Copy|Preserve|Keep|Exclude|Include|Limit|Send"
    r"|Follow|Sort|Make|Do not|Allow|Output|Select|Start|Stop|Update|Append|Restrict)"
    r"\b(?P<rest>[^.;:(]{8,90})"
)
_SAYING = re.compile(
    r"^(?:Specifies|Sets|Controls|Determines|Configures|Limits|Defines|Indicates|Takes|Causes|Tells"
    r"|Prints|Shows|Displays|Enables|Disables|Forces|Allows|Specify|Set)\b"
)


class Entry(NamedTuple):
    """An option of a page, as it is headed, and what is said of it."""

    name: str
    head: str
    body: str

    @property
    def text(self) -> str:
        """The entry as a passage shows it."""
        return f"{self.head}\n    {self.body}"


def read_page(file: Path) -> list[Entry]:
    """Lay out a manual page and read its entries."""
    shown = subprocess.run(
        ["man", "--nh", "--nj", "-l", str(file)],  # noqa: S607
        capture_output=True,
        check=False,
        env=environment_without_keys(MANWIDTH="4000", LC_ALL="C.UTF-8"),
    ).stdout.decode("utf-8", "replace")
    lines = [re.sub(r".\x08", "", line).expandtabs() for line in shown.splitlines()]
    return list(_entries(lines))


def _entries(lines: Sequence[str]) -> Iterator[Entry]:
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        indent = len(line) - len(line.lstrip())
        found = _HEAD.match(line.strip()) if 3 <= indent <= 12 else None
        if found is None:
            continue
        head, _, first = re.sub(r"\s{3,}", "\t", line.strip()).partition("\t")
        body = [first] if first else []
        while at < len(lines):
            after = lines[at]
            depth = len(after) - len(after.lstrip())
            if after.strip() and depth <= indent:
                break
            if not after.strip() and not body:
                break
            if after.strip():
                body.append(after.strip())
            at += 1
        text = re.sub(r"\s+", " ", " ".join(body)).strip()
        # A line of running text is no head.
        if text and len(head) < 70 and len(text.split()) >= 6:
            yield Entry(found[0].rstrip("=:"), head, " ".join(text.split()[:140]))


def ask_page(page: str, entries: Sequence[Entry], rng: Random) -> list[dict[str, Any]]:
    """Make rows of questions over a page's entries."""
    rows: list[dict[str, Any]] = []

    def add(
        question: str, number: int, answer: tuple[int, int] | None, *, out: bool = False
    ) -> None:
        first = max(0, number - rng.randint(0, 2))
        chosen = list(range(first, min(len(entries), number + 1 + rng.randint(0, 2))))
        if out:
            chosen = [each for each in chosen if each != number]
        parts, size, answers = [], 0, []
        for each in chosen:
            text = entries[each].text
            if each == number and answer is not None:
                start = size + answer[0]
                answers.append({"start": start, "text": text[answer[0] : answer[1]]})
            parts.append(text)
            size += len(text) + 1
        if parts:
            rows.append(
                {
                    "_id": f"{page}-{len(rows)}",
                    "question": question,
                    "context": "\n".join(parts),
                    "document": page,
                    "answers": answers,
                }
            )

    for number, entry in enumerate(entries):
        name, by = entry.name, len(entry.text) - len(entry.body)
        asked = rng.choice(
            [f"What is the default of {name}?", f"What is the default value of {name}?",
             f"What does {name} default to?", f"default {name}"]
        )  # fmt: skip
        found = _DEFAULT.search(entry.body)
        if found and found["value"].lower() not in _VAGUE and not found["value"].endswith("="):
            start, end = found.span("value")
            add(asked, number, (by + start, by + end))
            if rng.random() < 0.4:
                add(asked, number, None, out=True)
        elif "default" not in entry.body.lower() and rng.random() < 0.25:
            add(asked, number, None)
        spans = split_sentences(entry.body)
        start, end = spans[0]
        sentence = entry.body[start:end]
        if 5 <= len(sentence.split()) <= 26 and (_SAYING.match(sentence) or _DOING.match(sentence)):
            asked = rng.choice(
                [f"What does {name} do?", f"What is {name} for?", f"What is the effect of {name}?"]
            )
            if rng.random() < 0.25:
                add(asked, number, None, out=True)
            elif rng.random() < 0.6:
                add(asked, number, (by + start, by + end))
        doing = _DOING.match(sentence)
        if doing and name.startswith("-"):
            rest = doing["rest"].strip()
            verb = doing["verb"].lower()
            asked = rng.choice(
                [f"How do I {verb} {rest}?", f"Which option do I need to {verb} {rest}?",
                 f"How can I {verb} {rest}?"]
            )  # fmt: skip
            long = re.search(r"--[a-z][\w-]+", entry.head)
            place = long.span() if long else (0, len(name))
            add(asked, number, None if rng.random() < 0.3 else place, out=False)
            if not rows[-1]["answers"]:
                rows.pop()
                add(asked, number, None, out=True)
    return rows


def main() -> None:
    """Write the rows of all pages below a directory."""
    parser = argparse.ArgumentParser(
        prog="python -m rag.training.reader.manuals",
        description="Make questions over manual pages.",
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--pages", nargs="*", default=["*"], help="names of pages, or patterns")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    rng = Random(arguments.seed)  # noqa: S311
    rows = []
    for file in sorted(arguments.directory.glob("usr/share/man/man?/*.gz")):
        named = any(fnmatch(file.name, f"{page}.gz") for page in arguments.pages)
        if named and not file.is_symlink():
            entries = read_page(file)
            if len(entries) >= 3:
                rows += ask_page(file.name.removesuffix(".gz"), entries, rng)
    with (
        arguments.output.open("wb") as opened,
        gzip.GzipFile(filename="", mode="wb", fileobj=opened, mtime=0) as packed,
    ):
        for row in rows:
            packed.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    silent, pages = sum(not row["answers"] for row in rows), {row["document"] for row in rows}
    say(f"{len(rows)} questions, {silent} silent, over {len(pages)} pages")


if __name__ == "__main__":
    main()
