"""Check claims: whether the documents support a claim, refute it, or say too little."""

from rag.answering.claims.baseline import LABELS
from rag.answering.claims.statements import search_text
from rag.answering.claims.verdicts import BASELINE, check

__all__ = ["BASELINE", "LABELS", "check", "search_text"]
