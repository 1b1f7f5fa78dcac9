"""Whatever is done to an index, in any order and cut short anywhere: a dict says it all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

import faiss
import pytest
from crashing import FATES, ROOM, Crashes, Operation, State, carry_out, survival
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rag.index import Index

NAMES = st.sampled_from("abcdef")
# A large one makes the caches be written anew.
COUNTS = st.sampled_from((1, 2, 7, 20, 20, 260))
AT = st.integers(0, 150)


class Store(RuleBasedStateMachine):
    """An index, and a dict of what it holds."""

    crashes: ClassVar[Crashes]

    @initialize()
    def begin(self) -> None:
        self.folder = Path(mkdtemp(dir=ROOM))
        self.index = Index(self.folder / "index")
        self.state: State = {}
        self.version = 0
        self.do(self.put("a", 3))

    def put(self, name: str, count: int) -> Operation:
        self.version += 1
        return Operation("add", {name: (self.version, count)})

    def do(self, operation: Operation) -> None:
        carry_out(self.index, operation)
        self.state = operation.apply(self.state)

    @rule(name=NAMES, count=COUNTS)
    def add_or_replace(self, name: str, count: int) -> None:
        self.do(self.put(name, count))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.do(Operation("remove", {}, [name]))

    @rule(added=NAMES, gone=NAMES, count=COUNTS)
    def several(self, added: str, gone: str, count: int) -> None:
        self.do(Operation("several", self.put(added, count).put, [gone]))

    @rule(kind=st.sampled_from(("compact", "optimize")))
    @precondition(lambda self: bool(self.state))
    def keep_well(self, kind: str) -> None:
        self.do(Operation(kind))

    @rule(name=NAMES, count=COUNTS)
    def rebuild(self, name: str, count: int) -> None:
        self.do(Operation("rebuild", self.put(name, count).put))

    @rule()
    def reopen(self) -> None:
        self.index = Index(self.index.directory)

    @rule(name=NAMES, count=COUNTS, at=AT, fate=st.sampled_from(FATES))
    def crash_while_adding(self, name: str, count: int, at: int, fate: str) -> None:
        self.crash(self.put(name, count), at, fate)

    @rule(name=NAMES, at=AT, fate=st.sampled_from(FATES))
    def crash_while_removing(self, name: str, at: int, fate: str) -> None:
        self.crash(Operation("remove", {}, [name]), at, fate)

    @rule(kind=st.sampled_from(("compact", "optimize")), at=AT, fate=st.sampled_from(FATES))
    @precondition(lambda self: bool(self.state))
    def crash_while_keeping_well(self, kind: str, at: int, fate: str) -> None:
        self.crash(Operation(kind), at, fate)

    def crash(self, operation: Operation, at: int, fate: str) -> None:
        outcome = self.crashes.run(self.index.directory, operation, at, fate)
        assert not outcome.problems
        after = operation.apply(self.state)
        state, torn = survival.read_state(self.index)
        assert not torn
        if outcome.ended or outcome.refused:
            assert state in (self.state, after)
        else:
            assert state == after
        self.state = state

    @invariant()
    def holds_what_the_dict_says(self) -> None:
        if not hasattr(self, "index"):
            return
        for index in (self.index, Index(self.index.directory)):
            assert survival.read_state(index) == (self.state, [])
            assert not survival.wrong_answers(index, self.state, self.version)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def crashes() -> Iterator[Any]:
    Store.crashes, threads = Crashes(), faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)
    Store.crashes.close()


@pytest.mark.usefixtures("crashes")
@pytest.mark.slow
def test_an_index_is_what_a_dict_says() -> None:
    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=12,
            stateful_step_count=18,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
