"""Static embedders against sentence-transformers, ridge regression worked out, and questions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CORPUS, RunMain
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from rag import (
    RAG,
    Chunk,
    ConfigError,
    EmbeddingError,
    ModelError,
    StoreError,
)
from rag.chunking import embedded_texts
from rag.config import (
    ChunkingConfig,
    Config,
    EmbeddingConfig,
    IndexConfig,
    RetrievalConfig,
)
from rag.embedding import load_embedder
from rag.embedding.static import StaticEmbedder
from rag.index import Index
from rag.models import resolve
from rag.protocols import Embedder
from rag.retrieval.rerank import PassageVectors, load_reranker, passage_text
from rag.training.distillation import Distillation, distil
from rag.training.static import TokenTable, fit, write_static

WORDS = ("[UNK]", "red", "green", "blue")
ROWS = np.array([[0, 0], [3, 0], [0, 4], [-3, 0]], dtype=np.float32)
QUESTIONS = CORPUS.parent


def word_tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def make_static(folder: Path, rows: np.ndarray = ROWS, **settings: object) -> Path:
    """Three words in two dimensions, as sentence-transformers keeps them."""
    folder.mkdir()
    kind = "sentence_transformers.models.StaticEmbedding"
    modules = [{"idx": 0, "name": "0", "path": "0_StaticEmbedding", "type": kind}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "0_StaticEmbedding").mkdir()
    word_tokenizer().save(str(folder / "0_StaticEmbedding" / "tokenizer.json"))
    save_file({"embedding.weight": rows}, folder / "0_StaticEmbedding" / "model.safetensors")
    if settings:
        (folder / "config.json").write_text(json.dumps(settings))
    return folder


def load(folder: Path) -> Embedder:
    return load_embedder(EmbeddingConfig(model=str(folder)))


def test_a_text_has_the_mean_of_its_rows(tmp_path: Path) -> None:
    embedder = load(make_static(tmp_path / "words", max_length=7))
    assert isinstance(embedder, StaticEmbedder)
    assert isinstance(embedder, Embedder)
    # (3, 0) and (0, 4) are (3, 4) together, of length 5.
    found = embedder.embed_documents(["red green", "blue", "red blue", "", "grey"])
    assert found.dtype == np.float32
    expected = [[0.6, 0.8], [-1, 0], [0, 1], [0, 1], [0, 1]]
    assert found == pytest.approx(np.array(expected))
    assert embedder.embed_query("red  green") == pytest.approx(found[0])
    assert embedder.token_offsets("red  green") == [(0, 3), (5, 10)]
    assert (embedder.name, embedder.dim, embedder.max_tokens) == ("words", 2, 7)
    assert (embedder.special_tokens, len(embedder.fingerprint)) == (0, 16)
    assert embedder.embed_documents([]).shape == (0, 2)


def test_halves_are_added_as_floats(tmp_path: Path) -> None:
    rows = np.full((4, 2), 0.001, dtype=np.float16)
    rows[:, 1] = 1
    embedder = load(make_static(tmp_path / "halves", rows))
    (found,) = embedder.embed_documents(["red " * 5000])
    assert found == pytest.approx(np.array([0.001, 1]), rel=1e-3)
    assert embedder.max_tokens == 512


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda home: (home / "tokenizer.json").unlink(), "No such file"),
        (lambda home: (home / "tokenizer.json").write_text("{"), "EOF"),
        (lambda home: (home / "model.safetensors").unlink(), "No such file"),
        (lambda home: (home / "model.safetensors").write_bytes(b"\xff" * 99), "is damaged"),
        (lambda home: save_file({"a": ROWS, "b": ROWS}, home / "model.safetensors"), "holds a, b"),
        (
            lambda home: save_file(
                {"embeddings": ROWS.astype(np.int8)}, home / "model.safetensors"
            ),
            "is of I8",
        ),
        (
            lambda home: save_file({"embeddings": ROWS[:2]}, home / "model.safetensors"),
            "4 tokens and vectors for 2",
        ),
        (
            lambda home: (home / "model.safetensors").write_bytes(
                (home / "model.safetensors").read_bytes()[:-9]
            ),
            "mmap length is greater",
        ),
    ],
)
def test_a_broken_model_is_named_in_one_line(tmp_path: Path, spoil: object, said: str) -> None:
    folder = make_static(tmp_path / "broken")
    spoil(folder / "0_StaticEmbedding")  # type: ignore[operator]
    with pytest.raises(ModelError, match=f"broken: cannot be loaded .*{said}") as caught:
        load(folder).embed_query("red")
    assert "\n" not in str(caught.value)


def test_what_is_not_a_number_is_told(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[1] = np.nan
    embedder = load(make_static(tmp_path / "nan", rows))
    with pytest.raises(EmbeddingError, match="nan gave vectors with NaN"):
        embedder.embed_documents(["green", "red"])


def table(vectors: np.ndarray, rarity: np.ndarray) -> TokenTable:
    return TokenTable("teacher", vectors, rarity, word_tokenizer().to_str(), 9)


def test_fitting_is_ridge_regression_about_the_table() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(4, 3)).astype(np.float32)
    rarity = np.array([0.5, 1, 0.25, 0.8], dtype=np.float32)
    passages = ["red green", "blue blue red", "green"]
    wanted = random.normal(size=(3, 3)).astype(np.float32)
    counts = np.array([[0, 1, 1, 0], [0, 1, 0, 2], [0, 0, 1, 0]]) * rarity
    shares = counts / np.linalg.norm(counts @ vectors, axis=1, keepdims=True)
    gram = shares @ shares.T
    inverse = np.linalg.inv(gram + 0.1 * np.trace(gram) / 3 * np.eye(3))
    expected = vectors + shares.T @ inverse @ (wanted - shares @ vectors)
    found = fit(table(vectors, rarity), passages, wanted)
    assert found.vectors == pytest.approx(expected, abs=1e-4)
    # What is in no passage stays as it was.
    assert found.vectors[0] == pytest.approx(vectors[0])
    assert fit(table(vectors, rarity), [], wanted[:0]).vectors is vectors


def test_fewer_dimensions_keep_the_products_as_well_as_may_be(tmp_path: Path) -> None:
    # Of rank 2 within 3 dimensions: two of them hold everything.
    plane = np.random.default_rng(0).normal(size=(2, 3))
    vectors = (np.random.default_rng(1).normal(size=(4, 2)) @ plane).astype(np.float32)
    weights = np.array([0.5, 1, 0.25, 0.8], dtype=np.float32)
    whole = write_static(table(vectors, weights), tmp_path / "whole")
    less = write_static(table(vectors, weights), tmp_path / "less", dim=2)
    texts = ["red green", "blue", "blue green green", "red"]
    assert (whole.dim, less.dim, less.max_tokens) == (3, 2, 9)
    first, second = whole.embed_documents(texts), less.embed_documents(texts)
    assert second @ second.T == pytest.approx(first @ first.T, abs=1e-5)
    summed = weights[1] * vectors[1] + weights[2] * vectors[2]
    assert first[0] == pytest.approx(summed / np.linalg.norm(summed), abs=1e-6)
    with pytest.raises(ConfigError, match="teacher has 3 dimensions, fewer than 4"):
        write_static(table(vectors, weights), tmp_path / "more", dim=4)


def test_only_a_static_model_is_replaced(tmp_path: Path) -> None:
    ones = np.ones(4, dtype=np.float32)
    made = write_static(table(ROWS, ones), tmp_path / "model")
    kept = made.embed_query("red")
    again = write_static(table(-ROWS, ones), tmp_path / "model")
    assert again.embed_query("red") == pytest.approx(-kept)
    # It is mapped: whoever opened the one before still has it.
    assert made.embed_query("red") == pytest.approx(kept)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("a")
    with pytest.raises(ModelError, match="letters: holds something else"):
        write_static(table(ROWS, ones), tmp_path / "letters")
    with pytest.raises(ModelError, match=r"a\.txt: cannot be written"):
        write_static(table(ROWS, ones), tmp_path / "letters" / "a.txt")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights with the real tokenizer: it reads all tokens in seconds."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(resolve("all-minilm-l6-v2", kind="embedder").location, folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(**shape, intermediate_size=128)).save_pretrained(folder)
    pooling = folder / "1_Pooling" / "config.json"
    known = {**json.loads(pooling.read_text()), "word_embedding_dimension": 64}
    pooling.write_text(json.dumps(known))
    return folder


@pytest.fixture(scope="module")
def config(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of an index of the sample corpus that the teacher built."""
    place = tmp_path_factory.mktemp("taught") / "indexes" / "default"
    config = Config(
        embedding=EmbeddingConfig(model=str(teacher), device="cpu"),
        index=IndexConfig(path=str(place)),
        # More passages than the corpus has by default.
        chunking=ChunkingConfig(size=40, overlap=0),
    )
    RAG(config=config).index(CORPUS)
    return config


@pytest.fixture(scope="module")
def made(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Distillation:
    return distil(tmp_path_factory.mktemp("models") / "static", config, dim=48)


@pytest.fixture(scope="module")
def plain(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Distillation:
    """The same of the embedder alone."""
    folder = tmp_path_factory.mktemp("models") / "plain"
    return distil(folder, config, dim=0, passages=0)


def test_a_token_has_what_the_teacher_makes_of_it_by_itself(
    plain: Distillation, teacher: Path
) -> None:
    import torch
    from transformers import AutoTokenizer, BertModel

    tokenizer, model = AutoTokenizer.from_pretrained(teacher), BertModel.from_pretrained(teacher)
    with torch.inference_mode():
        every = torch.stack([torch.tensor([101, each, 102]) for each in range(30_522)])
        known = torch.cat([model(part).last_hidden_state.mean(1) for part in every.split(2048)])
    used = [each for each, word in enumerate(tokenizer.convert_ids_to_tokens(range(30_522)))
            if not word.startswith("[unused")]  # fmt: skip
    known = known.numpy() - known.numpy()[used].mean(axis=0)
    # The share of the word of rank r is 1 / (r + 1), scaled to 1 over all; ranks count used tokens.
    shares = 1 / np.arange(2, len(used) + 2)
    rarity = dict(zip(used, 1e-4 / (1e-4 + shares / shares.sum()), strict=True))
    ids = tokenizer("lighthouse keepers", add_special_tokens=False)["input_ids"]
    expected = sum(known[each] * rarity[each] for each in ids)
    expected /= np.linalg.norm(expected)
    embedder = load(Path(plain.path))
    assert embedder.embed_query("Lighthouse keepers") == pytest.approx(expected, abs=1e-3)
    assert (plain.teacher, plain.dim, plain.tokens, plain.passages) == ("tiny", 64, 30_522, 0)


def test_fitting_brings_it_nearer_to_its_teacher(
    config: Config, plain: Distillation, tmp_path: Path
) -> None:
    made = distil(tmp_path / "near", config, dim=0)
    assert made.loss is not None
    # The passages that it is measured with are not those that it was fitted to.
    assert made.passages + made.loss.queries == made.loss.passages
    assert made.loss.queries > 10
    texts, theirs = stored(config)
    cosines = [
        np.sum(load(Path(each.path)).embed_documents(texts) * theirs, axis=1).mean()
        for each in (made, plain)
    ]
    # How far the teacher's vectors lie from where the table is without them.
    assert 1 - cosines[0] < 0.3 * (1 - cosines[1])


def stored(config: Config) -> tuple[list[str], np.ndarray]:
    """What was embedded for each passage of an index, and its vector."""
    texts, rows = [], []
    with Index(Path(config.index.path)).contents() as contents:
        documents = {document.id: document for _, document in contents.documents()}
        for chunk, vector in zip(contents.chunks(), contents.vectors(), strict=True):
            document = documents[chunk.document_id]
            text = document.text[chunk.start : chunk.end]
            cut = Chunk(0, document.id, text, chunk.start, chunk.end, 0)
            texts += embedded_texts(document, [cut])
            rows.append(np.frombuffer(vector, dtype="<f2").astype(np.float32))
    return texts, np.array(rows)


def test_what_is_lost_is_counted_over_neighbours(config: Config, plain: Distillation) -> None:
    """Once more with a full sort in place of blocks."""
    texts, theirs = stored(config)
    ours = load(Path(plain.path)).embed_documents(texts)
    asked = np.random.default_rng(0).permutation(len(texts))[: len(texts) // 10]
    shared = []
    for each in asked:
        nearest = [
            [at for at in np.argsort(-(side @ side[each]), kind="stable") if at != each][:10]
            for side in (theirs, ours)
        ]
        shared.append(len(set(nearest[0]) & set(nearest[1])) / 10)
    assert plain.loss is not None
    assert plain.loss.queries == len(asked)
    assert plain.loss.at_10 == pytest.approx(np.mean(shared), abs=0.01)


def test_sentence_transformers_gives_the_same_vectors(made: Distillation) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [path.read_text(encoding="utf-8") for path in sorted(CORPUS.rglob("*.md"))][:8]
    texts += ["a", "Straße 東京 \U0001f54a"]
    ours = load(Path(made.path))
    theirs = SentenceTransformer(made.path, device="cpu", local_files_only=True)
    assert ours.embed_documents(texts) == pytest.approx(theirs.encode(texts), abs=1e-5)
    # What its teacher reads, without the two special tokens around it.
    assert ours.max_tokens == 254


def test_neither_indexing_nor_searching_loads_torch(made: Distillation, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom rag import RAG\n"
        f"rag = RAG({str(tmp_path / 'index')!r}, settings={{'embedding.model': {made.path!r}}})\n"
        f"rag.index({str(CORPUS)!r})\n"
        "assert rag.search('How tall is the lighthouse?')\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "sentence_transformers", "onnxruntime", "model2vec", "scipy"}
    assert not set(ran.stdout.split()) & heavy


def write_settings(folder: Path, index: str | Path, teacher: Path) -> Path:
    file = folder / "rag.toml"
    file.write_text(
        f'[index]\npath = "{index}"\n[embedding]\nmodel = "{teacher}"\ndevice = "cpu"\n'
    )
    return file


def test_without_an_index_it_is_made_of_the_embedder_and_not_measured(
    teacher: Path, plain: Distillation, tmp_path: Path, run_main: RunMain
) -> None:
    settings = write_settings(tmp_path, tmp_path / "none", teacher)
    arguments = ["models", "distil", str(tmp_path / "static"), "--dim", "0"]
    ran = run_main(*arguments, "--config", settings)
    assert "static: 64 dimensions, 30,522 tokens, 8 MB, of tiny\n" in ran.out
    assert "loss: not measured, there is no index" in ran.out
    assert load(tmp_path / "static").embed_query("light") == pytest.approx(
        load(Path(plain.path)).embed_query("light"), abs=1e-5
    )


def test_the_command_measures_as_rag_eval_does(
    teacher: Path, config: Config, tmp_path: Path, run_main: RunMain
) -> None:
    settings = write_settings(tmp_path, config.index.path, teacher)
    given = [str(QUESTIONS), "--config", str(settings)]
    arguments = ["models", "distil", str(tmp_path / "static"), "--dim", "32", "--data", *given]
    ran = run_main(*arguments)
    assert "32 dimensions, 30,522 tokens, 4 MB, of tiny, fitted to" in ran.out
    (line,) = [each for each in ran.out.splitlines() if each.startswith("loss: nDCG@10 0.")]
    measured = []
    for model in (str(tmp_path / "static"), str(teacher)):
        asked = ["eval", *given, "--embedder", model, "--compare", "dense", "--json"]
        report = json.loads(run_main(*asked).out)
        measured.append(report["reports"][0]["metrics"]["nDCG@10"])
    shown = re.match(r"loss: nDCG@10 (\S+), tiny (\S+) \(85 questions, 88 passages\)$", line)
    assert shown
    # A product of many vectors at once differs from one at a time in the last bits, by which two
    # passages alike may change places.
    assert [float(each) for each in shown.groups()] == pytest.approx(measured, abs=0.003)


def test_an_index_of_another_embedder_is_refused(config: Config, tmp_path: Path) -> None:
    other = Config(embedding=EmbeddingConfig(device="cpu"), index=config.index)
    with pytest.raises(StoreError, match="holds vectors of tiny, the embedder is all-minilm-l6-v2"):
        distil(tmp_path / "again", other)
    assert not (tmp_path / "again").exists()


def test_questions_without_documents_need_an_index(config: Config, tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("question,source\nHow tall?,a.md\n")
    bare = Config(embedding=config.embedding, index=IndexConfig(path=str(tmp_path / "none")))
    with pytest.raises(StoreError, match=r"no index, and .*asked\.csv brings no documents"):
        distil(tmp_path / "model", bare, data=tmp_path / "asked.csv")


def test_the_first_of_a_static_search_are_scored_by_the_full_model(
    made: Distillation, embedder: Embedder, tmp_path: Path
) -> None:
    settings = {
        "embedding.model": made.path,
        "retrieval.mode": "dense",
        "retrieval.expansion": (),
        "retrieval.rerank": "embedder",
        "retrieval.rerank_model": "all-minilm-l6-v2",
        "retrieval.rerank_depth": 12,
    }
    rag = RAG(tmp_path / "index", settings=settings)
    rag.index(CORPUS)
    question = "When was the lighthouse built?"
    hits = rag.search(question, 12)
    cosines = [hit.score for hit in hits]
    assert cosines == sorted(cosines, reverse=True)
    assert all(hit.trace[-1].name == "embedder" for hit in hits)
    passages = embedder.embed_documents([passage_text(hit) for hit in hits])
    assert cosines == pytest.approx((passages @ embedder.embed_query(question)).tolist(), abs=0.01)
    unread = RAG(tmp_path / "index", settings={**settings, "retrieval.rerank": "none"})
    assert {hit.chunk.id for hit in unread.search(question, 12)} == {hit.chunk.id for hit in hits}


class Counting:
    """An embedder that notes what it was asked to embed."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_query(self, text: str) -> np.ndarray:
        return np.array([1, 0], dtype=np.float32)

    def embed_documents(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[1 / len(text), 0] for text in texts], dtype=np.float32)


def test_a_passage_is_embedded_once_while_there_is_room() -> None:
    embedder = Counting()
    score = PassageVectors(embedder, cache_size=3).begin("q")  # type: ignore[arg-type]
    assert score(["a", "bb", "a"]) == [1, 0.5, 1]
    assert score(["cccc", "a"]) == [0.25, 1]
    assert embedder.asked == ["a", "bb", "cccc"]
    # There is room for three: the one that was not wanted for longest goes.
    assert score(["dd"]) == [0.5]
    assert score(["a", "cccc", "bb"]) == [1, 0.25, 0.5]
    assert embedder.asked == ["a", "bb", "cccc", "dd", "bb"]


@pytest.mark.parametrize(("mode", "weight"), [("dense", 1.0), ("hybrid", 0.5)])
def test_words_count_too_where_they_did_before(
    embedder: Embedder, mode: str, weight: float
) -> None:
    config = Config(retrieval=RetrievalConfig(rerank="embedder", mode=mode))
    reranker = load_reranker(config, embedder, lambda: pytest.fail("no generator"))
    assert reranker is not None
    assert getattr(reranker, "weight", None) == weight
