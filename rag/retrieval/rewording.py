"""Let the generator reword a question, or make up an answer to search with."""

from __future__ import annotations

from rag.protocols import LanguageModel, generate_text
from rag.text.sentences import split_sentences
from rag.text.wording import has_digit, join_lines, strip_marks
from rag.text.words import content_words
from rag.types import NO_ANSWER, Message

# A small model follows examples better than instructions.
_REWORDED = (
    (
        "When was the old lighthouse built?",
        "What year was the old lighthouse constructed?",
        "What is the age of the old lighthouse?",
        "In which year did they build the old lighthouse?",
    ),
    (
        "How do I change the oil of the engine?",
        "What are the steps of an oil change?",
        "How is engine oil replaced?",
        "How can I renew the oil in a motor?",
    ),
    (
        "Who may cancel the contract?",
        "Which party has the right to end the contract?",
        "Who is allowed to terminate the agreement?",
        "By whom can the contract be cancelled?",
    ),
)

_PASSAGE_CHARACTERS = 800


def multi_query(question: str, generator: LanguageModel, n: int = 3) -> list[str]:
    """Return at most `n` other wordings of the question that the generator wrote, perhaps none.

    A line counts as a wording if it is a question like the first, holds the same numbers and
    another word of it, is not much longer, and was not written before.

    Raises:
        GenerationError: if the generator cannot be reached or fails.
    """
    messages = [Message("system", f"Write the question in {n} other ways. Do not answer it.")]
    for asked, *wordings in _REWORDED:
        shown = "\n".join(f"{i}. {wording}" for i, wording in enumerate(wordings, start=1))
        messages += [Message("user", f"Rewrite: {asked}"), Message("assistant", shown)]
    messages.append(Message("user", f"Rewrite: {join_lines(question)}"))
    found: dict[str, str] = {_comparable(question): ""}
    text = generate_text(question, messages, generator, stop=lambda text: text.count("\n") >= 3 * n)
    for line in text.splitlines():
        wording = strip_marks(line)
        if _asks_the_same(wording, question):
            found.setdefault(_comparable(wording), wording)
    return list(found.values())[1 : n + 1]


def hyde(question: str, generator: LanguageModel) -> str:
    """Return a passage such as a document with the answer might hold, or an empty text.

    The generator makes it up, so embed it as a passage and never show it. Repeated sentences and
    a last one without an end are left out. Gao, Ma, Lin & Callan, ACL 2023.

    Raises:
        GenerationError: if the generator cannot be reached or fails.
    """
    request = (
        f"Write a short paragraph that answers the question.\n\nQuestion: {join_lines(question)}"
    )
    written = join_lines(generate_text(question, [Message("user", request)], generator))
    if NO_ANSWER in written:
        return ""
    sentences = dict.fromkeys(written[start:end] for start, end in split_sentences(written))
    finished = [sentence for sentence in sentences if sentence.endswith((".", "!", "?"))]
    passage = ""
    for sentence in finished or sentences:
        longer = f"{passage} {sentence}".strip()
        if passage and len(longer) > _PASSAGE_CHARACTERS:
            break
        passage = longer
    return passage[:_PASSAGE_CHARACTERS]


def _asks_the_same(wording: str, question: str) -> bool:
    ours, theirs = content_words(question), content_words(wording)
    numbers = set(filter(has_digit, ours))
    return (
        wording not in {"", NO_ANSWER}
        and (wording.endswith("?") or not question.rstrip().endswith("?"))
        and numbers == set(filter(has_digit, theirs))
        and (ours <= numbers or bool((ours & theirs) - numbers))
        and len(wording) <= 2 * len(question) + 60
    )


def _comparable(question: str) -> str:
    return join_lines(question).casefold().rstrip(" .?!")
