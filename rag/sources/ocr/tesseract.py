"""Read pictures by the program tesseract (Smith, "An overview of the Tesseract OCR engine", 2007).

The program gets pixels behind a header that we write ourselves, so that none of its parsers of
picture files sees what came from others, and no key or file of the user's.
"""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rag import processes
from rag.processes import bare_environment
from rag.sources.ocr.picture import OcrError, Picture, Word

# Tesseract's names of languages: ISO 639-2/T, but for some scripts.
_CODES = {
    "ar": "ara", "bg": "bul", "ca": "cat", "cs": "ces", "da": "dan", "de": "deu", "el": "ell",
    "en": "eng", "es": "spa", "et": "est", "fi": "fin", "fr": "fra", "he": "heb", "hi": "hin",
    "hr": "hrv", "hu": "hun", "id": "ind", "it": "ita", "ja": "jpn", "ko": "kor", "lt": "lit",
    "lv": "lav", "nl": "nld", "no": "nor", "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus",
    "sk": "slk", "sl": "slv", "sr": "srp", "sv": "swe", "tr": "tur", "uk": "ukr", "vi": "vie",
    "zh": "chi_sim",
}  # fmt: skip
# Where a page's language is not known, so many are tried together: each costs time.
_MOST_LANGUAGES = 4
_NO_LANGUAGES = frozenset({"osd", "equ", "snum"})
_WORD_LEVEL, _LINE_LEVEL = "5", "4"
_LONGEST_OUTPUT = 16 << 20


def find_program() -> str | None:
    """Return the path of the program, or None where it is not installed."""
    return processes.find_program("tesseract")


class Tesseract:
    """The program, started once for each picture."""

    name = "tesseract"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def recognize(self, picture: Picture, languages: Sequence[str]) -> list[Word]:
        """Return the words of a picture in the program's order.

        Raises:
            OcrError: if the program is missing, fails, or takes more than its seconds.
        """
        program = find_program()
        if program is None:
            raise OcrError("needs the program `tesseract`, which is not installed")
        known = installed_languages(program)
        wanted = [code for each in languages if (code := _CODES.get(each)) in known]
        chosen = wanted or _preferred(known)[:_MOST_LANGUAGES]
        if not chosen:
            raise OcrError("needs a language of tesseract's, such as `tesseract-ocr-eng`")
        header = f"P5\n{picture.width} {picture.height}\n255\n".encode()
        command = [program, "stdin", "stdout", "-l", "+".join(chosen), "--psm", "3", "tsv"]
        output = _run(command, header + picture.pixels, self._seconds)
        return list(_words_of(output[:_LONGEST_OUTPUT].decode("utf-8", "replace")))


@cache
def installed_languages(program: str) -> tuple[str, ...]:
    """Return the names of the languages that the program can read."""
    try:
        listed = _run([program, "--list-langs"], b"", 30.0).decode("utf-8", "replace")
    except OcrError:
        return ()
    names = (line.strip() for line in listed.splitlines()[1:])
    return tuple(name for name in names if name and name not in _NO_LANGUAGES)


def _preferred(known: Sequence[str]) -> list[str]:
    """Return languages without those of whole scripts, English first."""
    return sorted((name for name in known if "/" not in name), key=lambda name: name != "eng")


def _run(command: list[str], given: bytes, seconds: float) -> bytes:
    # More threads make a single page hardly faster, and several pages slower.
    environment = bare_environment(OMP_THREAD_LIMIT="1", PATH=str(Path(command[0]).parent))
    try:
        done = subprocess.run(
            command,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=seconds,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise OcrError(f"takes tesseract more than {seconds:g} s (`sources.seconds`)") from error
    except (subprocess.CalledProcessError, OSError) as error:
        raise OcrError("cannot be read by tesseract: try `tesseract` on it by hand") from error
    return done.stdout


def _words_of(table: str) -> list[Word]:
    words: list[Word] = []
    line, top, bottom = -1, 0.0, 0.0
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        try:
            x, y, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
            confidence = float(row["conf"]) / 100
        except (KeyError, TypeError, ValueError):
            continue
        if row["level"] == _LINE_LEVEL:
            line, top, bottom = line + 1, y, y + height
        text = (row.get("text") or "").strip()
        if row["level"] == _WORD_LEVEL and text and confidence >= 0:
            words.append(
                Word(text, x, y, x + width, y + height, min(confidence, 1.0), line, top, bottom)
            )
    return words
