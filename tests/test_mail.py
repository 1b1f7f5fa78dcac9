from __future__ import annotations

import base64
import mailbox
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import assert_spans, document, documents, headings, problems, results

from rag import Document, SourceError
from rag.config import SourcesConfig
from rag.sources.formats import mail


def message(subject: str = "Minutes", body: str = "Hello,\n\n> quoted\n\nBye\n") -> EmailMessage:
    new = EmailMessage()
    new["From"] = "Ada Lovelace <ada@example.org>"
    new["To"] = "Charles <charles@example.org>"
    new["Date"] = "Tue, 03 Mar 2026 10:20:30 +0100"
    new["Message-ID"] = (
        f"<{subject.encode('ascii', 'ignore').decode().replace(' ', '-')}@example.org>"
    )
    new["Subject"] = subject
    new.set_content(body)
    return new


def written(path: Path, content: EmailMessage | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.as_bytes())
    return path


def test_headers_then_the_plain_body_with_its_quotes(tmp_path: Path) -> None:
    found = document(written(tmp_path / "a.eml", message("Grüße aus Köln")))
    assert found.text == (
        "From: Ada Lovelace <ada@example.org>\nTo: Charles <charles@example.org>\n"
        "Date: Tue, 03 Mar 2026 10:20:30 +0100\nSubject: Grüße aus Köln\n\n"
        "Hello,\n\n> quoted\n\nBye"
    )
    assert found.title == "Grüße aus Köln"
    assert found.metadata["author"] == "Ada Lovelace <ada@example.org>"
    assert found.metadata["created"] == "2026-03-03T10:20:30+01:00"
    assert found.metadata["message_id"] == "Gre-aus-Kln@example.org"
    assert found.markup == "plain"


def test_html_is_rendered_only_where_there_is_no_plain_text(tmp_path: Path) -> None:
    both = message(body="Plain words.")
    both.add_alternative("<p>Styled words.</p>", subtype="html")
    text = document(written(tmp_path / "both.eml", both)).text
    assert "Plain words." in text
    assert "Styled" not in text
    empty = message(body=" \n")
    empty.add_alternative("<h2>Part</h2><p>Styled <b>words</b>.</p>", subtype="html")
    found = document(written(tmp_path / "html.eml", empty))
    assert found.text.endswith("Subject: Minutes\n\nPart\n\nStyled words.")
    assert headings(found) == [(2, "Part", "Part")]
    assert found.markup == "markdown"


def test_attachments_are_files_within(tmp_path: Path) -> None:
    new = message()
    new.add_attachment("one", filename="notes.txt")
    new.add_attachment("two", filename="notes.txt")
    new.add_attachment("three", filename="../../etc/passwd.txt")
    new.add_attachment("a,b\n1,2\n", subtype="csv")
    new.add_attachment(b"\x89PNG\r\n\x1a\n" + bytes(20), "image", "png", filename="logo.png")
    new.add_attachment(message("Inner", "Within."))
    path = written(tmp_path / "a.eml", new)
    found = {d.source.removeprefix(str(path)): d.text for d in documents(path)}
    assert found["/notes.txt"].strip() == "one"
    assert found["/notes-2.txt"].strip() == "two"
    assert found["/passwd.txt"].strip() == "three"
    assert found["/message.eml"].endswith("Subject: Inner\n\nWithin.")
    (logo,) = [p for p in problems(path) if p.source.endswith("/logo.png")]
    assert logo.kind == "skipped"


def test_text_around_an_attachment_is_all_of_the_body(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(
        b'Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n'
        b"--b\n\nBefore.\n--b\nContent-Type: image/png\nContent-Disposition: inline\n\n\x89PNG\0\n"
        b"--b\nContent-Type: text/plain\n\nAfter.\n--b--\n"
    )
    (found,) = documents(path)
    assert found.text == "Subject: s\n\nBefore.\n\nAfter."


def test_signatures_are_left_out_and_encryption_named(tmp_path: Path) -> None:
    head = b"Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/"
    signed = head + (
        b"signed; boundary=b\n\n--b\n\nWords.\n--b\nContent-Type: application/pgp-signature; "
        b"name=signature.asc\n\n-----BEGIN PGP SIGNATURE-----\n--b--\n"
    )
    path = written(tmp_path / "signed.eml", signed)
    assert [d.text for d in documents(path)] == ["Subject: s\n\nWords."]
    assert not problems(path)
    secret = head + b"encrypted; boundary=b\n\n--b\nContent-Type: text/plain\n\nxxxx\n--b--\n"
    path = written(tmp_path / "secret.eml", secret)
    assert [d.text for d in documents(path)] == ["Subject: s"]
    assert "is encrypted" in problems(path)[0].reason


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Content-Type: text/plain; charset=latin1\n\ncaf\xe9", "café"),
        (b"Content-Type: text/plain; charset=us-ascii\n\ncaf\xc3\xa9", "café"),
        (b"Content-Type: text/plain; charset=no-such\n\ncaf\xc3\xa9", "café"),
        (b"Content-Type: text/plain; charset=utf-8\n\ncaf\xe9", "caf\ufffd"),
        (b"Content-Transfer-Encoding: base64\n\nY2Fmw6k", "café"),
        (b"Content-Type: multipart/mixed\n\nno boundary", "no boundary"),
        (b"Content-Type: ;;;=\n\nodd type", "odd type"),
        (b"Date: no date at all\nMessage-ID: <<[>\nFrom: @@,<\n\nodd headers", "odd headers"),
    ],
)
def test_what_is_malformed_is_read_as_far_as_it_goes(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    found = document(written(tmp_path / "a.eml", b"Subject: caf\xc3\xa9\n" + content))
    assert found.title == "café"
    assert found.text.endswith(expected)


CHINESE = "负责人是朱镕，预算为三百万元。"
JAPANESE = "責任者は髙橋、予算は三百万円です。①"


@pytest.mark.parametrize(
    ("label", "data", "expected"),
    [
        ("gb2312", CHINESE.encode("gbk"), CHINESE),
        ("GBK", "余额：€5".encode("gb18030"), "余额：€5"),
        ("shift_jis", JAPANESE.encode("cp932"), JAPANESE),
        ("x-sjis", JAPANESE.encode("cp932"), JAPANESE),
        ("iso-2022-jp", "予算は三百万円です。".encode("iso-2022-jp"), "予算は三百万円です。"),
        ("ks_c_5601-1987", "예산은 삼백만 원, 뷁".encode("cp949"), "예산은 삼백만 원, 뷁"),
        ("big5", "預算為三百萬元".encode("big5"), "預算為三百萬元"),
        ("iso-8859-1", "“Silver” costs €49 –".encode("cp1252"), "“Silver” costs €49 –"),
        ("us-ascii", "“Silver” costs €49 –".encode("cp1252"), "“Silver” costs €49 –"),
        ("iso-8859-1", "Menü für 12 €".encode(), "Menü für 12 €"),
        ("iso-8859-9", "Şişli €".encode("cp1254"), "Şişli €"),
        ("koi8-r", "Бюджет".encode("koi8-r"), "Бюджет"),
    ],
)
def test_labels_mean_what_they_mean_on_the_web(
    tmp_path: Path, label: str, data: bytes, expected: str
) -> None:
    """Bodies, encoded words and headers of raw bytes alike."""
    head = b"Content-Type: text/plain; charset=" + label.encode() + b"\n"
    body = document(written(tmp_path / "body.eml", b"Subject: a\n" + head + b"\n" + data))
    assert body.text.endswith(expected)
    word = b"=?" + label.encode() + b"?B?" + base64.b64encode(data) + b"?="
    encoded = document(written(tmp_path / "word.eml", b"Subject: " + word + b"\n\nBody."))
    assert encoded.title == expected
    if b"\x1b" not in data:
        raw = document(written(tmp_path / "raw.eml", b"Subject: " + data + b"\n" + head + b"\nHi"))
        assert raw.title == expected


def test_markup_without_a_label_says_itself_what_it_is_in(tmp_path: Path) -> None:
    markup = f"<meta charset=gb2312><p>{CHINESE}</p>".encode("gbk")
    found = document(written(tmp_path / "a.eml", b"Content-Type: text/html\n\n" + markup))
    assert found.text == CHINESE
    wrong = b"Content-Type: text/html; charset=no-such\n\n" + markup
    assert document(written(tmp_path / "b.eml", wrong)).text == CHINESE


def test_raw_bytes_of_a_header_without_any_label_are_western(tmp_path: Path) -> None:
    found = document(written(tmp_path / "a.eml", "Subject: Prüfung – neu\n\nHi".encode("cp1252")))
    assert found.title == "Prüfung – neu"


def test_a_stub_that_says_there_is_html_gives_way_to_it(tmp_path: Path) -> None:
    letter = "<p>The crane lifts 52 tonnes. The depot opens at seven.</p>" * 3
    both = message(body="Your program cannot show HTML. https://example.org/" + "x" * 300)
    both.add_alternative(f"<style>{'p {color: red}' * 50}</style>{letter}", subtype="html")
    assert "52 tonnes" in document(written(tmp_path / "a.eml", both)).text
    full = message(body="The crane lifts 52 tonnes. The depot opens at seven. Plain.")
    full.add_alternative(
        f"<title>{'News ' * 99}</title><!-- {'hidden ' * 99} --><p>The crane lifts 52 tonnes.",
        subtype="html",
    )
    assert "Plain." in document(written(tmp_path / "b.eml", full)).text


def test_markup_that_never_closes_is_counted_once(tmp_path: Path) -> None:
    """Each opening that looked for its end through all that follows would take hours."""
    both = message(body="Plain.")
    both.add_alternative("<style>" * 100_000 + "<!--" * 100_000 + "<p>" * 100, subtype="html")
    assert "Plain." in document(written(tmp_path / "a.eml", both)).text


PIECES = st.sampled_from(
    [
        b"From: a@b\n",
        b"To: =?utf-8?q?=ff=fe?= <\n",
        b"Date: Tue, 99 Foo 2026 99:99\n",
        b"Content-Type: multipart/alternative; boundary=x\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Type: text/html; charset=\xff\n",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Disposition: attachment; filename*=utf-8''%ff\n",
        b"Message-ID: <a@[\n",
        b"--x\n",
        b"--x--\n",
        b"\n",
        b"<p>text",
        b"\xff\0",
    ]
)


@given(pieces=st.lists(PIECES, max_size=20))
def test_no_message_makes_reading_crash(pieces: list[bytes]) -> None:
    parsed = mail.parse_message(b"".join(pieces))
    assert_spans(mail.message_to_document(parsed, "a.eml", SourcesConfig()))
    list(mail.unpack_attachments(parsed, "a.eml", SourcesConfig(), modified=0.0))


def mbox(path: Path, *messages: EmailMessage) -> Path:
    box = mailbox.mbox(path)
    for one in messages:
        box.add(one)
    box.close()
    return path


def test_a_mailbox_is_its_messages_with_what_is_attached(tmp_path: Path) -> None:
    second = message("Second", "Dear all,\n\nFrom here on it is short.\n\nFrom me.\n")
    second.add_attachment("attached", filename="a.txt")
    path = mbox(tmp_path / "box.mbox", message("First"), second)
    before = path.read_bytes(), path.stat().st_mtime_ns
    found = {d.source.removeprefix(str(path)): d for d in documents(path)}
    assert list(found) == [
        "#First@example.org",
        "#Second@example.org",
        "/Second@example.org/a.txt",
    ]
    assert "From me." in found["#Second@example.org"].text
    assert found["/Second@example.org/a.txt"].text.strip() == "attached"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_messages_keep_their_ids_when_others_go(tmp_path: Path) -> None:
    without_id = message("Third")
    del without_id["Message-ID"]
    both = documents(mbox(tmp_path / "a.mbox", message("First"), without_id))
    (tmp_path / "a.mbox").unlink()
    alone = documents(mbox(tmp_path / "a.mbox", without_id))
    assert alone[0].id == both[1].id


def test_copies_and_broken_messages_cost_no_other(tmp_path: Path) -> None:
    other = message("First", "Another of the same id.\n")
    nested = message("Nested")
    nested.set_content("<div>" * 500 + "deep" + "</div>" * 500, subtype="html")
    path = mbox(tmp_path / "a.mbox", message("First"), message("First"), other, nested)
    settings = {"max_nesting": 100}
    found = documents(path, **settings)
    assert [d.title for d in found] == ["First", "First"]
    assert len({d.id for d in found}) == 2
    copy, broken = problems(path, **settings)
    assert (copy.kind, copy.reason) == ("skipped", "is a copy of an earlier message")
    assert broken.reason.startswith("message 4 cannot be read: ")


def test_a_message_that_is_too_large_is_named(tmp_path: Path) -> None:
    large = message("Large", "words and words\n" * 100_000)
    path = mbox(tmp_path / "a.mbox", message("First"), large, message("Last"))
    assert [d.title for d in documents(path, max_file_mb=1)] == ["First", "Last"]
    (problem,) = problems(path, max_file_mb=1)
    assert "message 2 is larger than 1 MB (`sources.max_file_mb`)" in problem.reason


def test_what_is_no_mailbox_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a mailbox"):
        results(written(tmp_path / "a.mbox", b"Some text.\n"))


def test_mail_without_a_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    (found,) = results(written(tmp_path / "1234", message()))
    assert isinstance(found, Document)
    assert found.media_type == "message/rfc822"
    mbox(tmp_path / "Inbox", message())
    assert documents(tmp_path / "Inbox")[0].source.endswith("#Minutes@example.org")
