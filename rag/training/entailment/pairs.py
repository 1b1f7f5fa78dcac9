"""What the judge learns from: a premise, a claim, and what the one says of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: tuple[Label, Label, Label] = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True, slots=True)
class Pair:
    """A claim beside one or more sentences of a document, and what they say of it.

    The labels follow two rules. A claim about the same thing in the same respect with another
    value is contradicted. A claim about another thing, or in a respect that the premise does not
    speak of, is neutral, however near its words are. `kind` says how the pair was made.
    """

    premise: str
    claim: str
    label: Label
    kind: str = ""

    def __post_init__(self) -> None:
        if not self.premise.strip() or not self.claim.strip():
            raise ValueError(f"a pair without words: {self}")
