"""Measure how good retrieval is (Report), and how good answers are (AnswerReport).

from rag import RAG
from rag.evaluation import compare, evaluate, evaluate_answers, load_dataset

rag = RAG("indexes/default")
questions = load_dataset("questions.csv")
reports = [evaluate(rag, questions, name) for name in ("dense", "hybrid+rerank")]
print(compare(reports).differences)
print(evaluate_answers(rag, questions).metrics)
"""

from __future__ import annotations

from rag.evaluation.answer_metrics import RiskPoint
from rag.evaluation.answer_report import AnswerReport, AnswerRow
from rag.evaluation.answers import evaluate_answers
from rag.evaluation.configurations import apply_configuration
from rag.evaluation.dataset import Dataset, HiddenPart, load_dataset
from rag.evaluation.indexing import cache_folder, index_corpus
from rag.evaluation.matching import match_qrels
from rag.evaluation.metrics import METRICS
from rag.evaluation.page import write_answer_page, write_page
from rag.evaluation.questions import MadeQuestion, QuestionSet, make_questions, write_questions
from rag.evaluation.report import RankedDocument, Report, Row
from rag.evaluation.retrieval import evaluate, evaluate_run
from rag.evaluation.runs import read_run, write_run
from rag.evaluation.significance import Comparison, Difference, best_value, compare

__all__ = [
    "METRICS",
    "AnswerReport",
    "AnswerRow",
    "Comparison",
    "Dataset",
    "Difference",
    "HiddenPart",
    "MadeQuestion",
    "QuestionSet",
    "RankedDocument",
    "Report",
    "RiskPoint",
    "Row",
    "apply_configuration",
    "best_value",
    "cache_folder",
    "compare",
    "evaluate",
    "evaluate_answers",
    "evaluate_run",
    "index_corpus",
    "load_dataset",
    "make_questions",
    "match_qrels",
    "read_run",
    "write_answer_page",
    "write_page",
    "write_questions",
    "write_run",
]
