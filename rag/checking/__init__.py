"""claim -> Verdict: whether the documents support it, refute it, or do not tell."""

from rag.checking.verdicts import BASELINE, LABELS, check
from rag.checking.windows import as_question

__all__ = ["BASELINE", "LABELS", "as_question", "check"]
