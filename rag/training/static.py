"""An embedder and passages with their vectors -> a static embedder, in a directory of its own.

The vector of a token is the embedder's vector of that token by itself (model2vec: Tulkens & van
Dongen, 2024), weighted by how rare it is (smooth inverse frequency: Arora, Liang & Ma, ICLR 2017,
over ranks in the vocabulary in place of counts). Ridge regression about this table then moves it,
as little as possible, to where the means of its rows are the vectors of the passages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.config import EmbeddingConfig
from rag.embedding.static import TENSOR, StaticEmbedder, is_static
from rag.errors import ConfigError, ModelError
from rag.models import LocalModel, resolve
from rag.models.sentence_models import open_sentence_model
from rag.types import Progress, ProgressCallback, no_progress

if TYPE_CHECKING:
    from rag.types import Vectors

# As in model2vec. On Cranfield and XQuAD nDCG@10 is 0.384 and 0.889 with it, 0.350 and 0.863 with
# ten times as much, 0.313 and 0.833 without.
_RARITY = 1e-4
# A share of the diagonal's mean. How it was chosen: docs/static.md.
_RIDGE = 0.1
_ROUNDS = 60
_TOKENS_AT_ONCE = 512
# Tokens that occur in no text.
_UNUSED = re.compile(r"\[unused\d+\]")


@dataclass(frozen=True, slots=True)
class TokenTable:
    """An embedder's vectors of single tokens: float32 `[tokens, dim]`, not of length 1.

    `rarity` is the weight of each in a text, 0 to 1. `tokenizer` is the embedder's, in JSON, and
    `max_tokens` its limit for a text, without special tokens.
    """

    teacher: str
    vectors: Vectors
    rarity: Vectors
    tokenizer: str
    max_tokens: int


def read_tokens(config: EmbeddingConfig, progress: ProgressCallback = no_progress) -> TokenTable:
    """Embed every token of the vocabulary by itself with the embedder of `config`, through torch.

    Raises:
        ModelError: if sentence-transformers cannot load it, or it has no tokenizer.json.
        ConfigError: if there is no such device.
    """
    import numpy as np
    import torch

    source = resolve(config.model, kind="embedder", progress=progress)
    opened = open_sentence_model(source, device=config.device)
    model, tokenizer, before, after = opened.model, opened.tokenizer, opened.before, opened.after
    sample = tokenizer.encode("a").ids
    first, last = sample[:before], sample[len(sample) - after :]
    count = tokenizer.get_vocab_size()
    # Scaled to length 1, common tokens would weigh as much as rare ones.
    modules = [each for each in model if type(each).__name__ != "Normalize"]
    batches = []
    with torch.inference_mode():
        for at in range(0, count, _TOKENS_AT_ONCE):
            ids = [[*first, each, *last] for each in range(at, min(at + _TOKENS_AT_ONCE, count))]
            tokens = torch.tensor(ids, device=model.device)
            features = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
            for module in modules:
                features = module(features)
            batches.append(features["sentence_embedding"].float().cpu().numpy())
            progress(Progress("distilling", at + len(ids), count, "tokens"))
    vectors = np.nan_to_num(np.concatenate(batches))
    words = [tokenizer.id_to_token(each) or "" for each in range(count)]
    used = np.array([not _UNUSED.fullmatch(word) for word in words])
    return TokenTable(
        source.name,
        vectors - vectors[used].mean(axis=0),
        _rarity(used),
        tokenizer.to_str(),
        opened.max_tokens - before - after,
    )


def fit(table: TokenTable, passages: Sequence[str], vectors: Vectors) -> TokenTable:
    """Move the table to where the means of its rows are `vectors`, one for each passage.

    With A the share of each token in each passage, scaled so that the rows of A E have length 1, E
    the table and Y the vectors, the result is E + Aᵀ(AAᵀ + λ I)⁻¹(Y − A E). A token's vector moves
    only as far as passages require it; tokens that are in no passage stay where they are.
    """
    import numpy as np
    from scipy import sparse
    from tokenizers import Tokenizer

    if not passages:
        return table
    tokenizer = Tokenizer.from_str(table.tokenizer)
    encoded = tokenizer.encode_batch_fast(list(passages), add_special_tokens=False)
    columns = np.concatenate([np.array(each.ids, dtype=np.int64) for each in encoded])
    rows = np.repeat(np.arange(len(encoded)), [len(each.ids) for each in encoded])
    shape = (len(encoded), len(table.vectors))
    shares = sparse.csr_matrix((table.rarity[columns], (rows, columns)), shape=shape)
    lengths = np.linalg.norm(shares @ table.vectors, axis=1)
    shares = sparse.diags(1 / np.maximum(lengths, 1e-9).astype(np.float32)) @ shares
    missing = vectors - shares @ table.vectors
    change = shares.T @ _solve_ridge(shares, missing)
    moved = np.ascontiguousarray(table.vectors + change, dtype=np.float32)
    return replace(table, vectors=moved)


def write_static(table: TokenTable, directory: Path, dim: int = 0) -> StaticEmbedder:
    """Write a model of `dim` dimensions (0: as many as the embedder has) to a new directory.

    It has the layout of sentence-transformers and of model2vec. Fewer dimensions are the principal
    ones of the table, its rows weighted by their rarity.

    Raises:
        ConfigError: if the embedder has fewer dimensions.
        ModelError: if the directory holds something that is no static model, or cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save

    width = table.vectors.shape[1]
    if dim > width:
        raise ConfigError(f"{table.teacher} has {width} dimensions, fewer than {dim}: lower --dim")
    rows = table.vectors * table.rarity[:, None]
    if 0 < dim < width:
        # The mean is not subtracted: a search compares products of the vectors as they are.
        _, axes = np.linalg.eigh(rows.T @ rows)
        rows = rows @ axes[:, ::-1][:, :dim]
    files: dict[str, Any] = {
        "modules.json": [_module(0, "", "StaticEmbedding"), _module(1, "1_Normalize", "Normalize")],
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "similarity_fn_name": "cosine",
        },
        "config.json": {
            "model_type": "model2vec",
            "architectures": ["StaticModel"],
            "tokenizer_name": table.teacher,
            "sif_coefficient": _RARITY,
            "hidden_dim": rows.shape[1],
            "max_length": table.max_tokens,
            "normalize": True,
        },
    }
    contents = {name: json.dumps(content, indent=1).encode() for name, content in files.items()}
    contents["tokenizer.json"] = table.tokenizer.encode()
    contents["model.safetensors"] = save({TENSOR: np.ascontiguousarray(rows, dtype=np.float32)})
    model = LocalModel(directory.resolve().name, str(directory.resolve()), None, "directory")
    try:
        if directory.exists() and any(directory.iterdir()) and not is_static(model):
            raise ModelError(f"{directory}: holds something else: name a new folder")
        (directory / "1_Normalize").mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            # A process that has the former file mapped keeps it.
            part = directory / f"{name}.part"
            part.write_bytes(content)
            part.replace(directory / name)
    except OSError as error:
        raise ModelError(f"{directory}: cannot be written: {error.strerror or error}") from error
    return StaticEmbedder(model)


def _rarity(used: Any) -> Vectors:
    """Return a / (a + p), with p by Zipf's law from a token's rank, common tokens first."""
    import numpy as np

    ranks = np.maximum(np.cumsum(used), 1) + 1
    inverse = 1 / ranks
    shares = inverse / inverse[used].sum()
    rarity: Vectors = (_RARITY / (_RARITY + shares)).astype(np.float32)
    return rarity


def _solve_ridge(shares: Any, right: Vectors) -> Vectors:
    """Return (AAᵀ + λ I)⁻¹ B by conjugate gradients, all columns of B side by side.

    Hestenes & Stiefel 1952. AAᵀ itself would take memory by the square of the passages.
    """
    import numpy as np

    transposed = shares.T.tocsr()
    ridge = _RIDGE * float(shares.multiply(shares).sum()) / shares.shape[0]
    solution = np.zeros_like(right)
    left = right.copy()
    step = left.copy()
    size = (left**2).sum(axis=0)
    enough = 1e-6 * size
    for _ in range(_ROUNDS):
        if (size <= enough).all():
            break
        image = shares @ (transposed @ step) + ridge * step
        length = size / np.maximum((step * image).sum(axis=0), 1e-30)
        solution += length * step
        left -= length * image
        before, size = size, (left**2).sum(axis=0)
        step = left + size / np.maximum(before, 1e-30) * step
    return solution


def _module(number: int, path: str, kind: str) -> dict[str, Any]:
    modules = "sentence_transformers.models"
    return {"idx": number, "name": str(number), "path": path, "type": f"{modules}.{kind}"}
