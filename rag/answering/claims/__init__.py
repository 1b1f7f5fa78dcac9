"""claim -> Verdict: whether the documents support it, refute it, or do not tell."""

from rag.answering.claims.baseline import LABELS
from rag.answering.claims.verdicts import BASELINE, check
from rag.answering.claims.windows import as_question

__all__ = ["BASELINE", "LABELS", "as_question", "check"]
