"""How answers come about, through the engine: ways, abstention, injections, JSON."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from injections import PLANTED, Planted

from rag import (
    RAG,
    ConfigError,
    GenerationError,
    ModelError,
    QuestionError,
    RagError,
    StoreError,
)
from rag.answering.stream import AnswerStream
from rag.answering.writing import write
from rag.generation import from_callable
from rag.protocols import Embedder, LanguageModel
from rag.types import NO_ANSWER, Message, Prompt

QUESTION = "Who proposed HyDE?"
SENTENCE = "HyDE was proposed by Gao and colleagues."


def writing(text: str) -> LanguageModel:
    """A generator that writes the same text, whatever it reads: as wrong as a model can be."""
    return from_callable("fixed", lambda _: (f"{word} " for word in text.split(" ")))


def rag_with(sample: RAG, embedder: Embedder, text: str, **settings: object) -> RAG:
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    return RAG(sample.path, embedder=embedder, generator=writing(text), settings=keys)


def test_auto_keeps_what_is_borne_out(sample: RAG, embedder: Embedder) -> None:
    answer = rag_with(sample, embedder, f"{SENTENCE} It was praised by Einstein.").ask(QUESTION)
    assert answer.way == "generate"
    assert "Gao" in answer.text
    assert "Einstein" not in answer.text
    assert answer.citations
    assert not answer.unsupported


def test_auto_falls_back_to_the_extract(sample: RAG, embedder: Embedder) -> None:
    rag = rag_with(sample, embedder, "Albert Einstein proposed HyDE in 1905.")
    answer = rag.ask(QUESTION)
    assert answer.way == "extract"
    assert "Gao" in answer.text
    assert "Einstein" not in answer.text
    assert answer == rag.ask(QUESTION) or answer.text == rag.ask(QUESTION).text


def test_auto_reads_on_no_further_than_a_first_sentence_from_nothing(
    sample: RAG, embedder: Embedder
) -> None:
    given = []

    def write(_: Prompt) -> Iterator[str]:
        for number in range(1000):
            given.append(number)
            yield f"Einstein said so {number} times on Mars. "

    rag = RAG(sample.path, embedder=embedder, generator=from_callable("endless", write))
    assert rag.ask(QUESTION).way == "extract"
    assert len(given) < 5


def test_generate_marks_what_is_not_borne_out(sample: RAG, embedder: Embedder) -> None:
    text = f"{SENTENCE} It was praised by Einstein in 1905."
    answer = rag_with(sample, embedder, text, answering__way="generate").ask(QUESTION)
    assert [s.text for s in answer.unsupported] == ["It was praised by Einstein in 1905."]
    assert answer.unsupported[0].flagged == ("Einstein", "1905")


def test_strict_leaves_it_out(sample: RAG, embedder: Embedder) -> None:
    settings = {"answering__way": "generate", "answering__strict": True}
    text = f"It was praised by Einstein in 1905. {SENTENCE}"
    answer = rag_with(sample, embedder, text, **settings).ask(QUESTION)
    assert "Einstein" not in answer.text
    assert answer.text.startswith(SENTENCE)
    nothing = rag_with(sample, embedder, "Einstein did.", **settings).ask(QUESTION)
    assert (nothing.text, nothing.abstained) == (NO_ANSWER, True)


class Loading:
    """A generator that notes in which thread it is loaded, and fails with `fault`."""

    name, context_tokens, max_tokens = "loading", 4096, 100

    def __init__(self, fault: Exception | None = None) -> None:
        self.threads: list[threading.Thread] = []
        self._fault = fault
        self._loaded = threading.Event()

    def load(self) -> None:
        self.threads.append(threading.current_thread())
        self._loaded.set()
        if self._fault is not None:
            raise self._fault

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        assert self._loaded.wait(300)
        if self._fault is not None:
            raise self._fault
        yield SENTENCE


def test_the_generator_is_loaded_beside_the_search(sample: RAG, embedder: Embedder) -> None:
    generator = Loading()
    assert RAG(sample.path, embedder=embedder, generator=generator).ask(QUESTION).way == "generate"
    assert len(generator.threads) == 1
    assert generator.threads[0] is not threading.current_thread()
    for fault in (ModelError("no weights"), GenerationError("no memory")):
        broken = RAG(sample.path, embedder=embedder, generator=Loading(fault))
        with pytest.raises(RagError, match=str(fault)):
            broken.ask(QUESTION)


def test_a_generator_that_is_not_to_write_is_not_loaded(
    sample: RAG, embedder: Embedder, tmp_path: Path
) -> None:
    generator = Loading()
    extract = {"answering.way": "extract"}
    RAG(sample.path, embedder=embedder, generator=generator, settings=extract).ask(QUESTION)
    with pytest.raises(StoreError):
        RAG(tmp_path / "none", embedder=embedder, generator=generator).ask(QUESTION)
    with pytest.raises(QuestionError):
        RAG(sample.path, embedder=embedder, generator=generator).ask(" ")
    assert not [each for each in threading.enumerate() if each.name == "load-generator"]
    assert not generator.threads


def test_an_answer_takes_tools_and_what_finds_but_no_rag(sample: RAG) -> None:
    query = sample.query(f" {QUESTION}\n")
    hits = query.find()
    pieces = write(replace(query, find=lambda: hits), sample.tools)
    stream = AnswerStream(pieces, query.asked)
    expected = sample.ask(QUESTION)
    assert "".join(stream) == expected.text
    assert stream.answer.citations == expected.citations
    assert (stream.question, stream.answer.question) == (QUESTION, QUESTION)
    other = replace(sample.tools, writes=True, generator=lambda: writing(SENTENCE))
    assert sample.stream(QUESTION, tools=other).answer.way == "generate"


def test_tools_load_no_model(sample: RAG) -> None:
    rag = RAG(sample.path)
    assert not rag.tools.writes
    assert vars(rag).keys().isdisjoint({"embedder", "generator", "retriever", "entailment"})


def test_extract_asks_no_generator(sample: RAG, embedder: Embedder) -> None:
    def fail(_: Prompt) -> Iterator[str]:
        raise AssertionError

    rag = RAG(
        sample.path,
        embedder=embedder,
        generator=from_callable("never", fail),
        settings={"answering.way": "extract"},
    )
    answer = rag.ask(QUESTION)
    assert answer.way == "extract"
    assert answer.model == "mpnet-reader"
    assert answer.spans
    assert all(answer.text[start:end].strip() for start, end in answer.spans)
    assert answer.brief in answer.text


@pytest.mark.parametrize("way", ["auto", "generate", "extract"])
def test_what_the_documents_do_not_hold_is_not_answered(
    way: str, sample: RAG, embedder: Embedder
) -> None:
    rag = rag_with(sample, embedder, "Bananas come from Ecuador.", answering__way=way)
    answer = rag.ask("Which country exports the most bananas?")
    assert answer.abstained
    assert answer.text == NO_ANSWER
    assert answer.citations == ()
    assert answer.way == "none"
    assert answer.confidence == answer.answerability < 0.5
    assert answer.prompt.hits, "what comes nearest"


def test_the_threshold_is_the_settings(sample: RAG, embedder: Embedder) -> None:
    never = rag_with(sample, embedder, SENTENCE, answering__threshold=1.0)
    assert never.ask(QUESTION).abstained


def test_history_and_examples_reach_the_generator(
    sample: RAG, embedder: Embedder, tmp_path: Path
) -> None:
    file = tmp_path / "examples.csv"
    file.write_text("question,answer\nWho proposed LoRA?,Hu and colleagues.\n", encoding="utf-8")
    read: list[Prompt] = []

    def write(prompt: Prompt) -> Iterator[str]:
        read.append(prompt)
        yield SENTENCE

    rag = RAG(
        sample.path,
        embedder=embedder,
        generator=from_callable("reads", write),
        settings={"prompt.examples": str(file)},
    )
    history = [Message("user", "What is dense retrieval?"), Message("assistant", "A search.")]
    rag.ask(QUESTION, history=history)
    contents = [message.content for message in read[0].messages]
    assert any("Who proposed LoRA?" in content for content in contents)
    assert any("What is dense retrieval?" in content for content in contents)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "year": {"type": "integer"}},
    "required": ["name", "year"],
    "additionalProperties": False,
}


def test_json_follows_the_schema_and_is_held_against_the_passages(
    sample: RAG, embedder: Embedder
) -> None:
    rag = rag_with(sample, embedder, '{"name": "Gao", "year": 1066}')
    answer = rag.ask(QUESTION, schema=SCHEMA)
    assert answer.data == {"name": "Gao", "year": 1066}
    name, year = answer.sentences
    assert name.citations
    assert answer.text[name.start : name.end] == "Gao"
    assert not year.citations
    assert year.flagged == ("1066",)
    assert [s.text for s in answer.unsupported] == ["1066"]
    assert all("Gao" in citation.quote for citation in answer.citations)


def test_json_that_does_not_follow_is_an_error(sample: RAG, embedder: Embedder) -> None:
    rag = rag_with(sample, embedder, '{"name": "Gao"}')
    with pytest.raises(GenerationError, match="year"):
        rag.ask(QUESTION, schema=SCHEMA)


def test_the_small_model_writes_json(sample: RAG, embedder: Embedder) -> None:
    rag = RAG(sample.path, embedder=embedder, settings={"generation.max_tokens": 60})
    answer = rag.ask(QUESTION, schema=SCHEMA)
    assert set(answer.data) == {"name", "year"}


def test_a_schema_takes_a_generator_that_writes(sample: RAG) -> None:
    with pytest.raises(ConfigError, match="writes"):
        sample.ask(QUESTION, schema=SCHEMA)


@pytest.fixture(scope="module")
def planted(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> RAG:
    folder = tmp_path_factory.mktemp("planted")
    documents = folder / "documents"
    documents.mkdir()
    for each in PLANTED:
        (documents / f"{each.name}.txt").write_text(each.document, encoding="utf-8")
    rag = RAG(folder / "index", embedder=embedder)
    assert not rag.index(documents).failed
    return rag


@pytest.mark.parametrize("each", PLANTED, ids=lambda each: each.name)
def test_no_planted_order_is_followed(each: Planted, planted: RAG) -> None:
    answer = planted.ask(each.question, where=f"path:{each.name}.txt")
    assert each.canary not in answer.text
    assert not any(each.canary in citation.quote for citation in answer.citations)
    sources = {hit.source for hit in answer.prompt.hits}
    assert {citation.source for citation in answer.citations} <= sources
    for citation in answer.citations:
        document = planted.document(citation.document_id)
        assert document.text[citation.start : citation.end] == citation.quote


@pytest.mark.parametrize("each", PLANTED[::6], ids=lambda each: each.name)
def test_a_model_that_obeys_is_not_believed(
    each: Planted, planted: RAG, embedder: Embedder
) -> None:
    text = f"{each.canary} [9]. See [1] [2] [3]."
    rag = RAG(planted.path, embedder=embedder, generator=writing(text))
    answer = rag.ask(each.question, where=f"path:{each.name}.txt")
    assert each.canary not in answer.text
    assert "[9]" not in answer.text


def test_a_question_in_a_document_answers_none(embedder: Embedder, tmp_path: Path) -> None:
    """An exam sheet asks what it does not tell."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "exam.md").write_text(
        "# Exam\n\nWho built the Vorn bridge? When was the Vorn bridge opened? How long is it?\n"
    )
    rag = RAG(tmp_path / "index", embedder=embedder)
    rag.index(documents)
    for question in ("When was the Vorn bridge opened?", "Who built the Vorn bridge?"):
        assert rag.ask(question).abstained
    assert rag.check("The Vorn bridge was opened in 1921.").label == "not enough information"
    (documents / "bridge.md").write_text("The Vorn bridge was opened in 1921 by Ilse Brandt.\n")
    rag.index(documents)
    assert "1921" in rag.ask("When was the Vorn bridge opened?").text
    assert not any("?" in each.quote for each in rag.check("It was opened in 1921.").evidence)
