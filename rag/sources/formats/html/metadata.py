"""Find the title of a page, and the metadata that it declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime

from rag.sources.document import title_of
from rag.sources.formats.html.elements import Element, name_of
from rag.sources.formats.html.text import clean
from rag.types import Heading

# Names in meta elements, in order of preference.
_METADATA: Mapping[str, tuple[str, ...]] = {
    "author": ("author", "dc.creator", "dcterms.creator", "article:author", "citation_author"),
    "description": ("description", "dc.description", "dcterms.description", "og:description"),
    "keywords": ("keywords", "article:tag", "dc.subject", "dcterms.subject"),
    "language": ("content-language", "dc.language", "dcterms.language", "og:locale"),
    "created": (
        *("article:published_time", "dcterms.created", "dc.date.created", "datepublished"),
        *("dcterms.issued", "dc.date.issued", "dcterms.date", "dc.date", "citation_date"),
        *("pubdate", "date"),
    ),
    "modified": (
        *("article:modified_time", "og:updated_time", "dcterms.modified", "dc.date.modified"),
        *("datemodified", "last-modified", "revised"),
    ),
}


def find_title(root: Element, headings: tuple[Heading, ...]) -> str:
    """Return the page's title, without the name of its site if the first heading shows it."""
    candidates = (found for found in root.iter("title") if name_of(found.getparent()) != "svg")
    element = next(candidates, None)
    full = "" if element is None else " ".join(clean("".join(element.itertext())).split())
    first = title_of(headings)
    if not full or not first:
        return full or first
    if full.startswith(first):
        apart = full.removeprefix(first).strip()[:1]
    elif full.endswith(first):
        apart = full.removesuffix(first).strip()[-1:]
    else:
        return full
    return full if apart.isalnum() else first


def find_metadata(root: Element) -> dict[str, str]:
    """Return the author, description, keywords, language and dates that the page declares."""
    values_by_name: dict[str, list[str]] = {}
    for meta in root.iter("meta"):
        content = " ".join((meta.get("content") or "").split())
        for attribute in ("name", "property", "http-equiv", "itemprop"):
            name = (meta.get(attribute) or "").strip().lower()
            if name and content:
                values_by_name.setdefault(name, []).append(content)
    for element in root.iter("html", "body"):
        declared = element.get("lang") or element.get("xml:lang")
        if declared:
            values_by_name.setdefault("content-language", []).insert(0, declared)
            break
    found = {}
    for key, names in _METADATA.items():
        values = next((values_by_name[name] for name in names if name in values_by_name), [])
        if not values:
            continue
        if key == "language":
            found[key] = language_code(values[0])
        elif key in ("created", "modified"):
            found[key] = iso_date(values[0])
        else:
            # Some pages name an author by the address of a profile.
            words = [value for value in values if "://" not in value]
            found[key] = ", ".join(dict.fromkeys(words))
    return {key: value for key, value in found.items() if value}


def language_code(declared: str) -> str:
    """Return the ISO 639-1 code in a language tag (BCP 47), or an empty string."""
    found = re.match(r"([A-Za-z]{2})(?![A-Za-z])", declared.strip())
    return found[1].lower() if found else ""


def iso_date(declared: str) -> str:
    """Return a date as ISO 8601, or an empty string if it cannot be parsed."""
    text = declared.strip()
    if re.fullmatch(r"\d{4}(?:-(?:0[1-9]|1[0-2]))?", text):
        return text
    with suppress(ValueError):
        datetime.fromisoformat(text)
        return text
    with suppress(ValueError, TypeError):
        return parsedate_to_datetime(text).isoformat()
    return ""
