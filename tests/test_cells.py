"""Cells of tables that a question asks for by their row and column, and those it does not."""

from __future__ import annotations

import pytest
from checkpoints import make_hits
from hypothesis import given
from hypothesis import strategies as st

from rag.answering.cells import find_cell
from rag.answering.passages import Passages

MACHINES = """Machine | Serial | Power kW | Bought | Location
Machine: Mill C | Serial: MV-0093 | Power kW: 11 | Bought: 2018-02-20 | Location: Hall 1
Machine: Mill D | Serial: MV-0094 | Bought: 2019-03-01 | Location: Hall 2
Machine: Press D | Serial: PR-7710 | Power kW: 30 | Bought: 2022-07-01 | Location: Hall 3
Machine: Press E | Serial: PR-7711 | Power kW: 35 | Bought: 2022-07-01 | Location: Hall 2"""
FARES = """Fares in the city.

| Zone | Single | Return | Valid for |
| --- | --- | --- | --- |
| A | 3.10 | 5.80 | 60 minutes |
| B | 4.40 |  | 90 minutes |
| C | 6.00 | 11.50 | 2 hours |

Children pay half."""
DELIVERIES = """Deliveries by depot, in tonnes

Depot | Steel | Copper | Zinc
Oslo | 12 |  | 3
| 31 | 9 | 1
Tromso | 7 | 2 | 8

All depots are open."""
SALES = """Region: North | City: Oslo | Steel 2022: 10 | Steel 2023: 11 (https://example.org/a)
Region: North | City: Bergen | Steel 2022: 20
Region: South | City: Lund | Steel 2022: 40 | Steel 2023: 41"""


def ask(question: str, *texts: str) -> str | None:
    """Return the cell that answers, `""` if it is empty, and None if none is asked for."""
    passages = Passages(make_hits(texts))
    found = find_cell(question, passages)
    if found is None:
        return None
    cell = found.cell
    return "" if cell is None else passages[cell.number - 1].text[cell.start : cell.end]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What power has Mill C?", "11"),
        ("How much power does Press D have?", "30"),
        ("Which machine stands in Hall 3?", "Press D"),
        ("When was Press D bought?", "2022-07-01"),
        ("What is the serial of Mill C?", "MV-0093"),
        ("Which machine has the serial PR-7710?", "Press D"),
        ("Which machine was bought on 2022-07-01 for Hall 2?", "Press E"),
        ("What is the single fare for zone B?", "4.40"),
        ("How much is a return in zone C?", "11.50"),
        ("What is the single fare for zone A?", "3.10"),
        ("What steel was sold in Lund in 2023?", "41"),
        ("How much steel 2022 did Bergen sell?", "20"),
        ("Which region is Bergen in?", "North"),
        ("How much zinc was delivered to Oslo?", "3"),
        ("How much steel did Tromso get?", "7"),
        ("Which city sold steel 2022 of 40?", "Lund"),
    ],
)
def test_a_cell_is_found_by_its_row_and_its_column(question: str, answer: str) -> None:
    found = ask(question, MACHINES, FARES, SALES, DELIVERIES)
    assert found is not None
    assert found.split(" (")[0] == answer


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What power has Mill D?", MACHINES),
        ("How much is a return in zone B?", FARES),
        ("How much copper was delivered to Oslo?", DELIVERIES),
    ],
)
def test_an_empty_cell_is_no_neighbour_s_value(question: str, text: str) -> None:
    assert ask(question, text) == ""


@pytest.mark.parametrize(
    "question",
    [
        # No such row, or not this one.
        "What power has Mill E?",
        "What power has Mill C of Hall 9?",
        "What is the single fare for zone D?",
        "How much steel did Bergen sell in 2021?",
        # Several rows, columns, or none.
        "Which machine stands in Hall 2?",
        "When was it bought?",
        "What is known of Mill C?",
        # Not one cell.
        "Which machine has the highest power?",
        "What power have Mill C and Press D?",
        "Is Mill C in Hall 1?",
        "Which machine is not in Hall 1?",
        "What is the total of the single fare for zone B?",
        # About something else.
        "Who pays half?",
        "",
        "?",
    ],
)
def test_what_asks_for_no_one_cell_is_left_to_the_reader(question: str) -> None:
    assert ask(question, MACHINES, FARES, SALES, DELIVERIES) is None


def test_a_row_that_two_passages_hold_is_one() -> None:
    assert ask("What power has Mill C?", MACHINES, MACHINES[:120]) == "11"


TEXT = st.text("|:- abA1\n.", max_size=60)


@given(TEXT, st.lists(TEXT, max_size=3))
def test_no_table_fails_and_every_cell_is_one(question: str, texts: list[str]) -> None:
    passages = Passages(make_hits([text for text in texts if text.strip()]))
    found = find_cell(f"What {question}?", passages)
    if found is not None and found.cell is not None:
        cell = found.cell
        text = passages[cell.number - 1].text[cell.start : cell.end]
        assert text == text.strip() != ""
        assert "\n" not in text
