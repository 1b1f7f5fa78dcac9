"""Questions with their relevant documents, and an index -> Report: how good retrieval is.

from rag import RAG
from rag.evaluation import compare, evaluate, load_dataset

rag = RAG("indexes/default")
questions = load_dataset("questions.csv")
reports = [evaluate(rag, questions, name) for name in ("dense", "hybrid+rerank")]
print(compare(reports).differences)
"""

from __future__ import annotations

from rag.evaluation.configurations import configured
from rag.evaluation.dataset import Dataset, load_dataset
from rag.evaluation.indexing import cache_folder, index_corpus
from rag.evaluation.measuring import evaluate, evaluate_run
from rag.evaluation.metrics import METRICS
from rag.evaluation.page import write_page
from rag.evaluation.questions import MadeQuestion, QuestionSet, make_questions, write_questions
from rag.evaluation.report import RankedDocument, Report, Row
from rag.evaluation.runs import read_run, write_run
from rag.evaluation.significance import Comparison, Difference, compare

__all__ = [
    "METRICS",
    "Comparison",
    "Dataset",
    "Difference",
    "MadeQuestion",
    "QuestionSet",
    "RankedDocument",
    "Report",
    "Row",
    "cache_folder",
    "compare",
    "configured",
    "evaluate",
    "evaluate_run",
    "index_corpus",
    "load_dataset",
    "make_questions",
    "read_run",
    "write_page",
    "write_questions",
    "write_run",
]
