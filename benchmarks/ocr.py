"""Measure OCR: 30 drawn pages of known text, word and character error rates of each engine.

    python benchmarks/ocr.py [tesseract] [rapidocr]

Pages are English and German, in three fonts, of five kinds: clean at 300 dpi, noisy at 200 dpi,
turned by 2 degrees, in two columns, and at 150 dpi. Errors are counted over the whole page by edit
distance (Levenshtein) on words and on characters, case and punctuation included.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rag.config import SourcesConfig
from rag.sources import SourceFile, read_file
from rag.types import Document

FONTS = (
    "/usr/share/fonts/truetype/liberation/LiberationSerif-Regular.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
)
KINDS = {"clean": 300, "noisy": 200, "skewed": 200, "columns": 300, "150 dpi": 150}
SENTENCES = {
    "en": (
        "The {noun} of hall {number} was inspected in {month} and found to be in good order.",
        "Whoever opens the {noun} must wear gloves, since its edges are sharp.",
        "A new {noun} costs {number} euro, which the harbour office pays in advance.",
        "In {month} the company moved {number} tonnes of gravel with a single {noun}.",
        "No {noun} may be left without supervision for more than {number} minutes.",
    ),
    "de": (
        "Die Prüfung der Anlage {number} im {month} ergab keine größeren Mängel.",
        "Wer das Gehäuse öffnet, muss Handschuhe tragen, weil die Ränder scharf sind.",
        "Ein neues Getriebe kostet {number} Euro und wird vom Hafenamt im Voraus bezahlt.",
        "Im {month} förderte die Gesellschaft {number} Tonnen Kies über die Straße.",
        "Ungeübte dürfen höchstens {number} Minuten ohne Aufsicht an der Säge stehen.",
    ),
}
MONTHS = {"en": ("January", "April", "October"), "de": ("März", "Juli", "Dezember")}
NOUNS = ("crane", "gearbox", "pump", "conveyor", "switchboard", "turbine")


def write_text(language: str, seed: int, count: int) -> str:
    """Return sentences that are the same for the same seed."""
    chosen = random.Random(seed)  # noqa: S311
    return " ".join(
        chosen.choice(SENTENCES[language]).format(
            noun=chosen.choice(NOUNS),
            number=chosen.randint(11, 9999),
            month=chosen.choice(MONTHS[language]),
        )
        for _ in range(count)
    )


def draw_page(text: str, font_path: str, kind: str, seed: int) -> Image.Image:
    """Draw a page of A4 as a scanner would give it."""
    dpi = KINDS[kind]
    page = Image.new("L", (round(8.27 * dpi), round(11.69 * dpi)), 255)
    draw = ImageDraw.Draw(page)
    font = ImageFont.truetype(font_path, round(11 / 72 * dpi))
    margin, columns = dpi, 2 if kind == "columns" else 1
    width = (page.width - 2 * margin - (columns - 1) * dpi // 3) // columns
    lines, line = list[str](), ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if draw.textlength(longer, font=font) > width:
            lines.append(line)
            longer = word
        line = longer
    lines.append(line)
    each = -(-len(lines) // columns)
    for column in range(columns):
        shown = "\n".join(lines[column * each : (column + 1) * each])
        x = margin + column * (width + dpi // 3)
        draw.multiline_text((x, margin), shown, font=font, fill=20, spacing=dpi // 20)
    if kind == "skewed":
        page = page.rotate(2, resample=Image.Resampling.BICUBIC, fillcolor=255)
    if kind == "noisy":
        rng = np.random.default_rng(seed)
        grey = np.asarray(page, dtype=np.float32) * 0.9 + rng.normal(0, 25, page.size[::-1])
        page = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    return page


def count_errors(right: Sequence[str], found: Sequence[str]) -> int:
    """Return how many words or characters are to be put in, taken out or changed."""
    codes = {each: at for at, each in enumerate({*right, *found})}
    other = np.array([codes[each] for each in found])
    steps = np.arange(len(found) + 1)
    row = steps.copy()
    for at, each in enumerate(right, start=1):
        best = np.concatenate(([at], np.minimum(row[:-1] + (other != codes[each]), row[1:] + 1)))
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def main() -> None:
    """Draw the pages, read them by each engine, and print a table in Markdown."""
    engines = sys.argv[1:] or ["tesseract", "rapidocr"]
    print("| engine | language | kind | pages | words wrong | characters wrong | s a page |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with TemporaryDirectory() as folder:
        for engine in engines:
            config = SourcesConfig(ocr=engine)  # type: ignore[arg-type]
            for language in SENTENCES:
                for kind, dpi in KINDS.items():
                    wrong = [0, 0, 0, 0]
                    started = time.monotonic()
                    for seed, font in enumerate(FONTS):
                        right = write_text(language, seed, 16)
                        path = Path(folder) / "page.png"
                        draw_page(right, font, kind, seed).save(path, dpi=(dpi, dpi))
                        status = path.stat()
                        file = SourceFile(str(path), "page.png", status.st_size, status.st_mtime_ns)
                        (found,) = [i for i in read_file(file, config) if isinstance(i, Document)]
                        read = " ".join(found.text.split())
                        wrong[0] += count_errors(right.split(), read.split())
                        wrong[1] += len(right.split())
                        wrong[2] += count_errors(right, read)
                        wrong[3] += len(right)
                    seconds = (time.monotonic() - started) / len(FONTS)
                    print(
                        f"| {engine} | {language} | {kind} | {len(FONTS)} | "
                        f"{wrong[0] / wrong[1]:.2%} | {wrong[2] / wrong[3]:.2%} | {seconds:.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
