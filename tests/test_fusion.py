from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.retrieval.fusion import convex, rrf

rankings = st.lists(st.lists(st.integers(0, 9), unique=True), max_size=4)
scores = st.dictionaries(st.integers(0, 9), st.floats(0, 100, allow_subnormal=False))
weights = st.floats(0, 1)


def test_rrf_by_hand() -> None:
    fused = rrf([["a", "b", "c"], ["c", "a"]])
    assert fused == pytest.approx({"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62})
    assert list(fused) == ["a", "c", "b"]
    assert list(rrf([["a"], ["b"]])) == ["a", "b"]
    assert rrf([["a"]], c=0) == {"a": 1.0}
    with pytest.raises(ValueError, match="negative"):
        rrf([], c=-1)


@given(rankings)
def test_rrf_is_the_sum_over_rankings(given_rankings: list[list[int]]) -> None:
    fused = rrf(given_rankings)
    for each in range(10):
        shares = [1 / (61 + ranking.index(each)) for ranking in given_rankings if each in ranking]
        assert fused.get(each, 0.0) == pytest.approx(sum(shares))
    assert list(fused.values()) == sorted(fused.values(), reverse=True)


def test_convex_by_hand() -> None:
    fused = convex({"a": 0.8, "b": 0.4, "c": -0.1}, {"b": 10.0, "d": 5.0}, weight=0.6)
    assert fused == pytest.approx({"a": 0.6, "b": 0.3 + 0.4, "d": 0.2, "c": 0.0})
    assert list(fused) == ["b", "a", "d", "c"]
    with pytest.raises(ValueError, match="within 0 and 1"):
        convex({}, {}, weight=1.1)


@given(scores, scores, weights, st.floats(0.01, 100))
def test_convex_knows_no_scale(
    dense: dict[int, float], lexical: dict[int, float], weight: float, scale: float
) -> None:
    fused = convex(dense, lexical, weight=weight)
    assert fused.keys() == dense.keys() | lexical.keys()
    assert all(0 <= score <= 1 + 1e-9 for score in fused.values())
    stretched = {each: score * scale for each, score in lexical.items()}
    assert convex(dense, stretched, weight=weight) == pytest.approx(fused, abs=1e-6)


@given(scores, scores)
def test_all_weight_on_one_side_keeps_its_order(
    dense: dict[int, float], lexical: dict[int, float]
) -> None:
    fused = convex(dense, lexical, weight=1.0)
    in_order = [dense[each] for each in fused if each in dense]
    assert in_order == sorted(in_order, reverse=True) or max(dense.values()) == 0
