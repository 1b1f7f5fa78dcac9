"""Read real files of every format: `python benchmarks/formats.py FOLDER... [--details FILE]`.

Each file below the folders whose suffix is one of an office program, of PDF, mail, books, pages or
notebooks is read as an index run reads it: in processes of their own, with their limits. It prints
a Markdown table by format: how many files were taken, left out or failed, whose reader died or ran
out of time, and how much of what another program finds in them was found. That is the recall of
its words, as often as it prints each, without regard to their order: pdftotext of Poppler for PDF,
pandoc for documents and books, openpyxl for the values of workbooks, and the text elements of the
XML of slides. A program that is not installed is left out. `--details` writes a line of JSON a
file, to be compared with another version's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import unicodedata
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from shutil import which
from statistics import median

from rag.config import SourcesConfig
from rag.sources import SourceFile, read_files
from rag.types import Document, Problem

FORMATS = {
    "PDF": "pdf",
    "DOCX": "docx docm",
    "PPTX": "pptx pptm",
    "XLSX": "xlsx xlsm",
    "XLSB, XLS": "xlsb xls",
    "ODT": "odt",
    "ODP, ODS": "odp ods",
    "RTF": "rtf",
    "DOC, PPT, MSG": "doc ppt msg",
    "HTML": "html htm",
    "EPUB": "epub",
    "mail": "eml mbox",
    "notebook": "ipynb",
    "CSV, TSV": "csv tsv",
}
SECONDS = 60
MOST_CELLS = 200_000
LOW = 0.9
_FORMAT_OF = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes.split()}
_DIED = re.compile(r"its reader (?:crashed|ended)|took more than")
# A letter of a script without spaces is a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+?(?=[\u3040-\u9fff]|\b)")


@dataclass(slots=True)
class Outcome:
    """The result of reading a file; `recall` is None where nothing was compared."""

    file: str
    state: str = "failed"
    reason: str = ""
    words: int = 0
    recall: float | None = None


def main() -> None:
    """Read all files, compare their words, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--details", type=Path, help="write a line of JSON for each file")
    arguments = parser.parse_args()
    files = find_files(arguments.folders)
    outcomes = read_all(files)
    if arguments.details:
        lines = (json.dumps(asdict(each), ensure_ascii=False) for each in outcomes.values())
        arguments.details.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print_table(outcomes)


def find_files(folders: Iterable[Path]) -> list[Path]:
    """Return the files of known suffixes below folders, without following links."""
    found = {
        path.resolve()
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix[1:].lower() in _FORMAT_OF and path.is_file() and not path.is_symlink()
    }
    return sorted(found)


def read_all(files: Sequence[Path]) -> dict[Path, Outcome]:
    """Read files as an index run does, and compare each with what another program finds."""
    outcomes = {path: Outcome(str(path)) for path in files}
    texts: defaultdict[Path, list[str]] = defaultdict(list)
    jobs = [
        (SourceFile(str(path), str(path), (at := path.stat()).st_size, at.st_mtime_ns), None)
        for path in files
    ]
    with ThreadPoolExecutor(2) as threads:
        others = {path: threads.submit(read_elsewhere, path) for path in files}
        for result in read_files(jobs, SourcesConfig()):
            path = Path(result.file.path)
            if isinstance(result.item, Document):
                texts[path].append(result.item.text)
            if not result.last:
                continue
            outcome, other = outcomes[path], others.pop(path).result()
            ours = count_words("\n".join(texts.pop(path, ())))
            outcome.words = ours.total()
            outcome.state = "taken" if ours else "left out"
            if isinstance(result.item, Problem):
                died = _DIED.search(result.item.reason)
                outcome.state = "died" if died else result.item.kind.replace("skipped", "left out")
                outcome.reason = result.item.reason
            expected = count_words(other)
            if expected and outcome.state == "taken":
                outcome.recall = (expected & ours).total() / expected.total()
    return outcomes


def count_words(text: str) -> Counter[str]:
    """Count the words of a text, joined where a line end divides them."""
    text = unicodedata.normalize("NFKC", text).replace("\xad", "").casefold()
    return Counter(_WORD.findall(re.sub(r"(?<=\w)-\s*\n\s*(?=\w)", "", text)))


def read_elsewhere(path: Path) -> str:
    """Return what another program finds in a file; nothing where it fails or there is none."""
    suffix = path.suffix[1:].lower()
    tool = _OTHERS.get(suffix)
    # What another program makes of a damaged file may be any error.
    with suppress(Exception):
        return tool(path) if tool is not None else ""
    return ""


def run(*command: str) -> str:
    """Return what a program prints, within its time."""
    if which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)
    return done.stdout.decode("utf-8", "replace")


def read_with_pdftotext(path: Path) -> str:
    """Return the text of a PDF by Poppler."""
    return run("pdftotext", "-enc", "UTF-8", str(path), "-")


def read_with_pandoc(path: Path) -> str:
    """Return the text of a document by pandoc."""
    kind = {"docm": "docx", "htm": "html"}.get(path.suffix[1:].lower(), path.suffix[1:].lower())
    return run("pandoc", "--sandbox", "-f", kind, "-t", "plain", "--wrap=none", str(path))


def read_with_openpyxl(path: Path) -> str:
    """Return the words of a workbook's cells by openpyxl; numbers have too many forms."""
    from openpyxl import load_workbook

    warnings.simplefilter("ignore")
    book = load_workbook(path, read_only=True, data_only=True)
    cells = (cell for sheet in book.worksheets for row in sheet.values for cell in row)
    return "\n".join(cell for cell in islice(cells, MOST_CELLS) if isinstance(cell, str))


def read_slides(path: Path) -> str:
    """Return the text elements of a presentation's slides, a paragraph a line."""
    with zipfile.ZipFile(path) as archive:
        slides = [
            name for name in archive.namelist() if re.match(r"ppt/slides/slide\d+\.xml", name)
        ]
        xml = "\n".join(archive.read(name).decode() for name in slides)
    paragraphs = re.sub(r"</a:p>|<a:br\b[^>]*>|<a:tab\b[^>]*>", "<a:t>\n</a:t>", xml)
    shown = "".join(re.findall(r"<a:t>([^<]*)</a:t>", paragraphs))
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


_OTHERS: dict[str, Callable[[Path], str]] = {
    "pdf": read_with_pdftotext,
    **dict.fromkeys(("docx", "docm", "odt", "rtf", "epub", "ipynb"), read_with_pandoc),
    **dict.fromkeys(("xlsx", "xlsm"), read_with_openpyxl),
    **dict.fromkeys(("pptx", "pptm"), read_slides),
}


def print_table(outcomes: dict[Path, Outcome]) -> None:
    """Print a line for each format, and how often each reason was given."""
    print("| format | files | taken | left out | failed | died | compared | median | below 0.9 |")
    print("| --- " * 9 + "|")
    for name in FORMATS:
        group = [each for path, each in outcomes.items() if _FORMAT_OF[_suffix(path)] == name]
        if not group:
            continue
        states = Counter(each.state for each in group)
        recalls = [each.recall for each in group if each.recall is not None]
        shown = f"{median(recalls):.3f}" if recalls else "-"
        low = sum(recall < LOW for recall in recalls) if recalls else "-"
        counts = " | ".join(str(states[key]) for key in ("taken", "left out", "failed", "died"))
        print(f"| {name} | {len(group)} | {counts} | {len(recalls)} | {shown} | {low} |")
    reasons = Counter(re.sub(r"\d[\d,.]*", "N", each.reason) for each in outcomes.values())
    for reason, count in reasons.most_common(40):
        if reason:
            print(f"\n{count} × {reason}")


def _suffix(path: Path) -> str:
    return path.suffix[1:].lower()


if __name__ == "__main__":
    main()
