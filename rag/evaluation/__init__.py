"""Questions and an index -> Report: how good retrieval is; AnswerReport: how good answers are.

from rag import RAG
from rag.evaluation import compare, evaluate, evaluate_answers, load_dataset

rag = RAG("indexes/default")
questions = load_dataset("questions.csv")
reports = [evaluate(rag, questions, name) for name in ("dense", "hybrid+rerank")]
print(compare(reports).differences)
print(evaluate_answers(rag, questions).metrics)
"""

from __future__ import annotations

from rag.evaluation.answer_report import AnswerReport, AnswerRow
from rag.evaluation.asking import evaluate_answers
from rag.evaluation.configurations import configured
from rag.evaluation.dataset import Dataset, load_dataset
from rag.evaluation.indexing import cache_folder, index_corpus
from rag.evaluation.measuring import evaluate, evaluate_run
from rag.evaluation.metrics import METRICS
from rag.evaluation.page import write_answer_page, write_page
from rag.evaluation.questions import MadeQuestion, QuestionSet, make_questions, write_questions
from rag.evaluation.report import RankedDocument, Report, Row
from rag.evaluation.runs import read_run, write_run
from rag.evaluation.significance import Comparison, Difference, compare

__all__ = [
    "METRICS",
    "AnswerReport",
    "AnswerRow",
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
    "evaluate_answers",
    "evaluate_run",
    "index_corpus",
    "load_dataset",
    "make_questions",
    "read_run",
    "write_answer_page",
    "write_page",
    "write_questions",
    "write_run",
]
