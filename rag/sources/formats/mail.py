"""Read mail messages: headers and body as one document, attachments as files of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from email.utils import parsedate_to_datetime
from mimetypes import MimeTypes
from pathlib import Path

from rag.config import SourcesConfig
from rag.sources.document import Member, TextBuilder, draft
from rag.sources.encodings import decode_labelled, decode_roughly
from rag.sources.formats import html
from rag.sources.unpacking import escape_unprintable, set_time, temporary_file, temporary_folder
from rag.types import Document, Heading, Problem

_AS_IT_IS = compat32.clone(max_line_length=0)
_SHOWN = ("From", "To", "Cc", "Date", "Subject")
# Parts that carry a signature or an encrypted message hold no text for people.
_CARRIERS = re.compile(
    r"application/(?:pgp-signature|pgp-encrypted|pgp-keys|(?:x-)?pkcs7-signature)"
)
# Where what nobody reads begins and ends, in markup.
_UNREAD = re.compile(rb"<(/?)(?:style|script|title)\b[^<>]*>|(<!--)|(-->)", re.I)
_TAGS_AND_ADDRESSES = re.compile(rb"<[^<>]*>|&nbsp;|https?://\S+", re.I)


@dataclass(slots=True)
class _Parts:
    """The parts of a message: those of its body in order, and its attachments."""

    body: list[Message] = field(default_factory=list)
    attached: list[Message] = field(default_factory=list)
    encrypted: bool = False


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Member | Problem]:
    """Yield a message as one document, and each attachment as a file within it."""
    message = parse_message(path.read_bytes())
    yield message_to_document(message, source, config)
    yield from unpack_attachments(message, source, config, modified=path.stat().st_mtime)


def parse_message(data: bytes) -> Message:
    """Parse a message; no data is so malformed that it would be refused."""
    # The newer policies parse headers at once, which is slow and raises on malformed ones.
    return BytesParser(policy=compat32).parsebytes(data)


def message_to_document(
    message: Message, source: str, config: SourcesConfig, *, key: str = ""
) -> Document:
    """Make a document of the headers that people read and the body; HTML becomes text."""
    shown = {name: value for name in _SHOWN if (value := read_header(message, name))}
    builder = TextBuilder()
    if shown:
        builder.add("\n".join(f"{name}: {value}" for name, value in shown.items()))
    markup = "plain"
    for part in _sort_parts(message).body:
        content = _decode_text(part, config)
        found: tuple[Heading, ...] = ()
        if part.get_content_type() == "text/html":
            content, found, *_ = html.render(content, source, config)
            markup = "markdown"
        if content.strip():
            builder.add(content.rstrip(), headings=found)
    return draft(
        source,
        builder.text,
        title=shown.get("Subject", ""),
        key=key,
        media_type="message/rfc822",
        markup=markup,
        metadata={
            "author": shown.get("From"),
            "to": shown.get("To"),
            "created": _date(shown.get("Date", "")),
            "message_id": read_message_id(message),
        },
        headings=builder.headings,
    )


def unpack_attachments(
    message: Message, source: str, config: SourcesConfig, *, modified: float, key: str = ""
) -> Iterator[Member | Problem]:
    """Yield the attachments of a message, one file at a time, each under its own name."""
    parts = _sort_parts(message)
    within = f"{source}#{key}" if key else source
    folder = key.replace("/", "_") + "/" if key else ""
    if parts.encrypted:
        yield Problem(within, "is encrypted: save a decrypted copy")
    taken: set[str] = set()
    if not parts.attached:
        return
    with temporary_folder() as folder_path:
        for number, part in enumerate(parts.attached, start=1):
            if number > config.max_members:
                yield Problem(
                    within, f"holds more than {config.max_members:,} files (`sources.max_members`)"
                )
                return
            name = _name_attachment(part, number)
            while name in taken:
                name = f"{Path(name).stem}-{number}{Path(name).suffix}"
            taken.add(name)
            try:
                content = _decode_bytes(part)
            # A damaged part may make the library raise anything.
            except Exception:  # noqa: BLE001
                reason = "cannot be unpacked: the message is damaged"
                yield Problem(f"{source}/{folder}{name}", reason)
                continue
            if content:
                with temporary_file(name, folder_path) as path:
                    path.write_bytes(content)
                    set_time(path, modified)
                    yield Member(folder + name, path)


def read_header(message: Message, name: str) -> str:
    """Return a header as one readable line, undecoded if it cannot be decoded."""
    raw = next((str(v) for key, v in message.raw_items() if key.lower() == name.lower()), "")
    data = raw.encode("utf-8", "surrogateescape")
    text = decode_labelled(data, "utf-8")
    if text is None:
        # Bytes that say nothing of themselves are mostly in the encoding of the text below.
        text = _decode_word(data, _label_of(message))
    return escape_unprintable(" ".join(_decode_words(text).split()))


def _label_of(message: Message) -> str:
    """Return the label of the first part that names its encoding, or what most of them would be."""
    labels = (_ask(part.get_content_charset) for part in message.walk())
    return next((label for label in labels if label not in ("", "us-ascii", "utf-8")), "cp1252")


def read_message_id(message: Message) -> str:
    """Return the `Message-ID` without its angle brackets."""
    return read_header(message, "Message-ID").strip("<> ")


def _sort_parts(message: Message) -> _Parts:
    parts = _Parts()
    # There is no recursion, since parts may be nested deeper than Python recurses.
    stack: list[tuple[Message, bool]] = [(message, True)]
    while stack:
        part, for_body = stack.pop()
        kind = part.get_content_type()
        if kind == "multipart/encrypted":
            parts.encrypted = True
        elif kind.startswith("multipart/") and part.is_multipart():
            inner = _inner(part)
            chosen = _choose_alternative(inner) if kind == "multipart/alternative" else None
            stack += [
                (one, for_body and (chosen is None or one is chosen)) for one in reversed(inner)
            ]
        elif kind in ("text/plain", "text/html") and not _is_attached(part):
            if for_body:
                parts.body.append(part)
        elif kind.startswith("multipart/"):
            # The message claims to have parts, and has none.
            parts.body.append(part)
        elif not _CARRIERS.fullmatch(kind):
            parts.attached.append(part)
    return parts


def _choose_alternative(alternatives: list[Message]) -> Message | None:
    """Choose the plain text, unless it only says that the message is in HTML."""
    texts = {
        kind: found
        for kind in ("text/plain", "text/html")
        if (found := next(_holding_text(alternatives, kind), None)) is not None
    }
    plain, marked = texts.get("text/plain"), texts.get("text/html")
    if plain is None or (marked is not None and 2 * plain[1] < marked[1]):
        plain = marked
    return plain[0] if plain is not None else None


def _holding_text(alternatives: list[Message], kind: str) -> Iterator[tuple[Message, int]]:
    """Yield the alternatives with text of a kind, and about how many bytes of it a person reads."""
    for alternative in alternatives:
        parts = [part for part in alternative.walk() if part.get_content_type() == kind]
        read = b" ".join(_decode_bytes(part) for part in parts if not _is_attached(part))
        if read.strip():
            yield alternative, _count_bytes_read(read)


def _count_bytes_read(data: bytes) -> int:
    """Count the bytes of text or markup that a person reads, without spaces and addresses."""
    count, at, is_read = 0, 0, True
    for mark in _UNREAD.finditer(data):
        if is_read:
            count += len(b"".join(_TAGS_AND_ADDRESSES.sub(b" ", data[at : mark.start()]).split()))
        at, is_read = mark.end(), bool(mark[1] or mark[3])
    return count + is_read * len(b"".join(_TAGS_AND_ADDRESSES.sub(b" ", data[at:]).split()))


def _inner(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [one for one in payload if isinstance(one, Message)] if isinstance(payload, list) else []


def _is_attached(part: Message) -> bool:
    return _ask(part.get_content_disposition) == "attachment" or bool(_ask(part.get_filename))


def _ask(ask: Callable[[], str | None]) -> str:
    try:
        return _decode_words(ask() or "")
    # The library may raise anything on malformed parameters.
    except Exception:  # noqa: BLE001
        return ""


def _decode_words(text: str) -> str:
    """Decode the encoded words (RFC 2047) of a text; return the text itself if that fails."""
    if "=?" not in text:
        return text
    try:
        return "".join(
            part if isinstance(part, str) else _decode_word(part, label or "ascii")
            for part, label in decode_header(text)
        )
    # The library may raise anything here, too.
    except Exception:  # noqa: BLE001
        return text


def _decode_word(data: bytes, label: str) -> str:
    text = decode_labelled(data, label)
    return decode_roughly(data, label) if text is None else text


def _decode_bytes(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        return payload
    # The part is a message within the message, or the header groups of a delivery report.
    return b"\n".join(one.as_bytes(policy=_AS_IT_IS) for one in _inner(part))


def _decode_text(part: Message, config: SourcesConfig) -> str:
    data, label = _decode_bytes(part), _ask(part.get_content_charset)
    text = decode_labelled(data, label) if label else None
    if text is None and part.get_content_type() == "text/html":
        text = html.decode_declared(data)
    for encoding in ("utf-8", config.encoding):
        text = decode_labelled(data, encoding) if text is None and encoding else text
    if text is None:
        text = decode_roughly(data, label)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _name_attachment(part: Message, number: int) -> str:
    name = escape_unprintable(_ask(part.get_filename).replace("\\", "/").rpartition("/")[2]).strip()
    if name.strip("."):
        return name
    kind = part.get_content_type()
    if kind == "message/rfc822":
        return "message.eml"
    suffix = MimeTypes().guess_extension(kind) or (".txt" if kind.startswith("message/") else "")
    return f"attachment-{number}{suffix}"


def _date(value: str) -> str:
    try:
        return parsedate_to_datetime(value).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""
