"""The model card of a trained reader, from its facts."""

from __future__ import annotations

import json
from pathlib import Path

from rag.training.cards import count_weights, list_files, run_command
from rag.training.reader.export import FACTS, GRAPH, TOKENIZER, WORDS

_CARD = """# Reader

Marks the answer to a question in passages, word for word, or says that they hold none.

- **Made by** `python -m rag.training.reader rag/training/reader/reader.toml --data DIRECTORY
  --output DIRECTORY`, then `python -m rag.training.reader.export`.
- **Base**: {base} (MPNet, its first {layers} layers, 768 wide; Apache-2.0). Its word embeddings are
  unchanged but for being kept in 4 bits a value, 32 sharing a scale; it was trained on these.
  The tokenizer is that of all-minilm-l6-v2 (Apache-2.0), which numbers the same words.
- **Files**: `{graph}`, the graph that multiplies in 8 bits, whose inputs are word vectors, and from
  which training can go on (`--start`, or `rag.training.shipping.restore_weights`: {weights:,}
  weights); `{words}`, the words; `{tokenizer}`; `{facts}`, the agreement of graph and weights.
- **Trained on**: QAMR (MIT; Michael et al., NAACL 2018), PolicyQA (MIT; Ahmad et al., Findings of
  EMNLP 2020), Natural Questions as in lost-in-the-middle (CC BY-SA 3.0; Kwiatkowski et al., TACL
  2019), six articles of SQuAD 2.0 (CC BY-SA 4.0; Rajpurkar, Jia & Liang, ACL 2018), questions
  made by template over Debian's manual pages of systemd, OpenSSH, rsync, curl, tar, tmux,
  unbound, e2fsprogs, logrotate, apt, wget, findutils, coreutils and GnuPG (the pages' own free
  licences; no text of them is here), and passages written by `synthetic`.
- **Never trained on**: the articles "Huguenot" and "1973 oil crisis" of SQuAD 2.0, which it is
  calibrated on; XQuAD; the documentation of PostgreSQL, Git and Borg; Climate-FEVER.
- **Calibration**: a logistic regression over its log-odds and what surrounds the span, `reading` in
  `rag/answering/weights.json`, fitted by `benchmarks/reader.py fit`.

## Measured

{measured}

The 8-bit graph differs from the weights by {difference:.2f} in the log-odds of the best span on
average over {passages} passages ({largest:.2f} at most), and marks the same span in {same:.0%}.

## Limits

English only. Answers are at most 40 tokens of one passage: lists, steps and answers that need two
places are found in part or not at all. Questions are cut after 64 tokens. Passages are read in
parts of 256 tokens, each without knowledge of the others. Nothing is known of the document that a
passage is from but its text.

## Files

{files}
"""


def write_card(folder: Path, measured: str) -> None:
    """Write `README.md` into the folder of an exported reader."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    agreement = facts["agreement"]
    text = _CARD.format(
        base=facts["base"],
        layers=facts["layers"],
        graph=GRAPH,
        words=WORDS,
        tokenizer=TOKENIZER,
        facts=FACTS,
        weights=count_weights(folder / GRAPH),
        measured=measured.strip(),
        difference=agreement["mean difference of the best log-odds"],
        largest=agreement["largest difference"],
        passages=agreement["passages"],
        same=agreement["same best span"],
        files=list_files(folder, (GRAPH, WORDS, TOKENIZER)),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command(write_card, "rag.training.reader.card", "a reader")
