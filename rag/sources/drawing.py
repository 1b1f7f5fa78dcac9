"""Draw a page of a PDF or of pictures, and find words on it, in a confined process of its own."""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rag.config import SourcesConfig
from rag.errors import SourceError, first_line
from rag.processes import bare_environment, start_python
from rag.sources.opening import open_file

Box = tuple[float, float, float, float]

_LONGEST_SIDE = 1600
_LARGEST_SCALE = 2.0
_MOST_CHARACTERS = 200_000
_MOST_BOXES = 500
_LONGEST_ANSWER = 64 << 20
# Of a quotation that does not stand there as a whole, parts of so many signs are looked for.
_LEAST_PART = 12


@dataclass(frozen=True, slots=True)
class DrawnPage:
    """A page as a picture; `boxes` are (left, top, right, bottom) in shares of its size."""

    png: bytes
    boxes: tuple[Box, ...]


def draw_page(
    path: str, number: int, quoted: str, config: SourcesConfig, boxes: Sequence[Box] = ()
) -> DrawnPage:
    """Draw page `number`, from 1, of the PDF or picture at a path, with boxes around quoted words.

    `boxes` are known for a scanned page; on others the words are looked for.

    Raises:
        SourceError: if the file or the page is not there, or cannot be drawn within the limits of
            readers.
    """
    with tempfile.TemporaryDirectory(prefix="rag-draw-", ignore_cleanup_errors=True) as name:
        job = {
            "path": path,
            "number": number,
            "quoted": quoted[:_MOST_CHARACTERS],
            "config": asdict(config),
            "scratch": name,
        }
        process = start_python(
            *("-c", "from rag.sources.drawing import main; main()"),
            folder=Path(name),
            environment=bare_environment(TMPDIR=name, TEMP=name, OMP_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            data, _ = process.communicate(json.dumps(job).encode(), timeout=config.seconds)
            answer = json.loads(data[:_LONGEST_ANSWER])
            if "error" in answer:
                raise SourceError(path, str(answer["error"])[:300])
            found = tuple(_to_box(each) for each in boxes or answer["boxes"])[:_MOST_BOXES]
            return DrawnPage(base64.b64decode(answer["png"], validate=True), found)
        except subprocess.TimeoutExpired as error:
            reason = f"took more than {config.seconds:g} s to draw (`sources.seconds`)"
            raise SourceError(path, reason) from error
        except (ValueError, KeyError, TypeError, OSError, binascii.Error) as error:
            raise SourceError(path, "cannot be drawn: its reader ended early") from error
        finally:
            process.kill()
            process.wait()


def _to_box(numbers: Sequence[Any]) -> Box:
    left, top, right, bottom = (min(1.0, max(0.0, float(each))) for each in numbers)
    return left, top, right, bottom


def main() -> None:
    """Draw the page that standard input asks for, and write it to standard output as JSON."""
    from rag.sources.confinement import confine
    from rag.sources.worker import limit_resources, reserve_output

    job = json.loads(sys.stdin.buffer.read())
    lists = {key: tuple(value) for key, value in job["config"].items() if isinstance(value, list)}
    config = SourcesConfig(**{**job["config"], **lists})
    results = reserve_output()
    given_up: tuple[str, ...] = ()
    if config.confined:
        given_up = confine([job["path"]], Path(job["scratch"]))
    limit_resources(config, given_up)
    try:
        answer = _draw(job["path"], job["number"], job["quoted"])
    except SourceError as error:
        answer = {"error": error.reason}
    except OSError as error:
        answer = {"error": f"cannot be read: {error.strerror or first_line(error)}"}
    except MemoryError:
        answer = {"error": f"needs more than {config.memory_mb} MB (`sources.memory_mb`)"}
    # A parser may raise anything on a damaged file.
    except Exception as error:  # noqa: BLE001
        answer = {"error": f"cannot be drawn: {first_line(error)[:200]}"}
    results.write(json.dumps(answer).encode())
    results.flush()


def _draw(path: str, number: int, quoted: str) -> dict[str, Any]:
    import io

    import pypdfium2

    with open_file(path) as handle, open(handle, "rb", closefd=False) as file:
        if b"%PDF-" not in file.read(1024):
            file.seek(0)
            return {"png": _draw_picture(path, file, number), "boxes": []}
        file.seek(0)
        pdf = pypdfium2.PdfDocument(file)
        if not 0 < number <= len(pdf):
            raise SourceError(path, f"has {len(pdf):,} pages, no {number}")
        page = pdf[number - 1]
        width, height = page.get_size()
        scale = min(_LARGEST_SCALE, _LONGEST_SIDE / max(width, height, 1.0))
        picture = io.BytesIO()
        page.render(scale=scale).to_pil().save(picture, "PNG")
        boxes = _find_boxes(page, quoted, scale)
        return {"png": base64.b64encode(picture.getvalue()).decode(), "boxes": boxes}


def _draw_picture(path: str, file: BinaryIO, number: int) -> str:
    """Return a page of a file of pictures as PNG in base64, turned as its camera says."""
    import io

    from PIL import Image, ImageOps

    with Image.open(file, formats=("PNG", "JPEG", "TIFF", "WEBP")) as pictures:
        if not 0 < number <= getattr(pictures, "n_frames", 1):
            raise SourceError(path, f"has no page {number}")
        if number > 1:
            pictures.seek(number - 1)
        drawn = ImageOps.exif_transpose(pictures).convert("RGB")
    drawn.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    png = io.BytesIO()
    drawn.save(png, "PNG")
    return base64.b64encode(png.getvalue()).decode()


def _find_boxes(page: Any, quoted: str, scale: float) -> list[Box]:
    """Return the boxes of quoted words, one for each line that they stand on."""
    from pypdfium2 import raw

    text = page.get_textpage()
    signs: list[str] = []
    places: list[int] = []
    for at in range(min(text.count_chars(), _MOST_CHARACTERS)):
        for sign in _signs(chr(raw.FPDFText_GetUnicode(text, at) or 0x20)):
            signs.append(sign)
            places.append(at)
    written = "".join(signs)
    found: list[Box] = []
    for start, end in _find_spans(written, quoted):
        lines: list[Box] = []
        for at in dict.fromkeys(places[start:end]):
            left, bottom, right, top = text.get_charbox(at, loose=True)
            box = _on_picture(page, (left, bottom, right, top), scale)
            if lines and _is_beside(lines[-1], box):
                last = lines[-1]
                box = (
                    min(last[0], box[0]),
                    min(last[1], box[1]),
                    max(last[2], box[2]),
                    max(last[3], box[3]),
                )
                lines.pop()
            lines.append(box)
        found += lines
    return found[:_MOST_BOXES]


def _on_picture(page: Any, box: Box, scale: float) -> Box:
    """Turn a box in points of the page into shares of its picture, which may be turned."""
    import ctypes

    from pypdfium2 import raw

    size = 1 << 20
    corners = []
    for x, y in ((box[0], box[1]), (box[2], box[3])):
        across, down = ctypes.c_int(), ctypes.c_int()
        raw.FPDF_PageToDevice(page, 0, 0, size, size, 0, x, y, across, down)
        corners.append((across.value / size, down.value / size))
    (x1, y1), (x2, y2) = corners
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _is_beside(one: Box, other: Box) -> bool:
    """Return whether a sign stands on the line, or in the upright column, of the box before it."""
    across, down = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    on_line = one[1] <= down <= one[3]
    # Below a line that is longer than a sign another line begins.
    in_column = one[0] <= across <= one[2] and one[2] - one[0] < 2 * (other[2] - other[0])
    near = 0.1
    return (on_line and other[0] <= one[2] + near and other[2] >= one[0] - near) or (
        in_column and other[1] <= one[3] + near and other[3] >= one[1] - near
    )


def _find_spans(written: str, quoted: str) -> list[tuple[int, int]]:
    """Return where a quotation stands in what is written on a page, as a whole or in parts."""
    whole = "".join(_signs(quoted))
    at = written.find(whole) if whole else -1
    if at >= 0:
        return [(at, at + len(whole))]
    spans = []
    begin = 0
    for line in quoted.splitlines():
        for part in _parts("".join(_signs(line))):
            at = written.find(part, begin)
            at = at if at >= 0 else written.find(part)
            if at >= 0:
                spans.append((at, at + len(part)))
                begin = at + len(part)
    return spans


def _parts(line: str) -> Iterator[str]:
    if len(line) <= 4 * _LEAST_PART:
        if len(line) >= _LEAST_PART:
            yield line
        return
    yield from (line[at : at + 2 * _LEAST_PART] for at in range(0, len(line), 2 * _LEAST_PART))


def _signs(text: str) -> str:
    """Return the letters, digits and signs of a text, in one form, without spaces and hyphens."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(each for each in folded if each.isalnum())
