"""The model card of a trained judge, from its facts."""

from __future__ import annotations

import json
from pathlib import Path

from rag.training.cards import count_weights, list_files, run_command
from rag.training.entailment.export import FACTS, GRAPH

_CARD = """# Entailment

Says whether a passage says what a claim says, says otherwise, or says nothing of it: three
probabilities, of entailment, neutral and contradiction.

- **Made by** `python -m rag.training.entailment rag/training/entailment/entailment.toml --data
  DIRECTORY --output DIRECTORY --start READER`, then `python -m rag.training.entailment.export`.
- **Base**: {base} (MiniLM, 6 layers, 384 wide; Apache-2.0). Its word embeddings are unchanged and
  not here: they come from the base's own package, as the tokenizer does. The layers go on from the
  first stage of the reader's training (`rag/training/reader/reader-long.toml`, stage `reading`).
- **Files**: `{graph_file}`, the graph that multiplies in 8 bits, whose inputs are word vectors, and
  from which training can go on (`rag.training.shipping.restore_weights`: {weights:,} weights);
  `{facts_file}`, the temperature, the accuracy on documents held out, and the agreement of the
  graph with the weights.
- **Trained on** pairs made by rule: questions with their right and wrong answers turned into
  statements, sentences changed or shortened, sentences of the same article, and short facts by
  template. The questions and sentences are those of QAMR (MIT; Michael et al., NAACL 2018),
  PolicyQA (MIT; Ahmad et al., Findings of EMNLP 2020), Natural Questions as in lost-in-the-middle
  (CC BY-SA 3.0; Kwiatkowski et al., TACL 2019) and eight articles of SQuAD 2.0 (CC BY-SA 4.0;
  Rajpurkar, Jia & Liang, ACL 2018).
- **Never trained on**: Climate-FEVER, XQuAD, the documents of `data/`, any data set for natural
  language inference (beyond what the base has read of them as a model for similarity).
- **Labels**: another value of the same thing in the same respect is a contradiction; another thing,
  or a respect that the premise does not speak of, is neutral, however near its words are.
- **Calibration**: the logits are divided by {temperature}, fitted on documents held out.

## Measured

On {pairs:,} pairs made in the same way of documents that nothing was trained on (and of the same
templates): accuracy {accuracy}, expected calibration error {error}. The 8-bit graph names the same
relation as the weights for {same:.1%} of {compared} pairs.

| pairs | accuracy | of |
| --- | --- | --- |
{kinds}

{measured}

## Limits

English only. Premise and claim are read up to 192 tokens together; a longer premise is read in
parts. It knows little of the world: that a sparrow is a bird, or that 90 minutes are an hour and a
half, it may miss. What has to be inferred over several sentences is mostly neutral to it. A claim
of several statements is judged as one: split it before.

## Files

{files}
"""


def write_card(folder: Path, measured: str) -> None:
    """Write `README.md` into the folder of an exported judge."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    held_out = facts["held out"]
    text = _CARD.format(
        base=facts["base"],
        weights=count_weights(folder / GRAPH),
        graph_file=GRAPH,
        facts_file=FACTS,
        temperature=facts["temperature"],
        pairs=held_out["pairs"],
        accuracy=held_out["accuracy"],
        error=held_out["expected calibration error"],
        same=facts["agreement"]["same relation"],
        compared=facts["agreement"]["pairs"],
        kinds="\n".join(
            f"| {kind} | {share} | {count} |"
            for kind, (share, count) in held_out["accuracy by kind"].items()
        ),
        measured=measured.strip(),
        files=list_files(folder, (GRAPH,)),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command(write_card, "rag.training.entailment.card", "a judge")
