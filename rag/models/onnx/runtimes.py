"""An ONNX graph and a text's tokens -> vectors, through ONNX Runtime or OpenVINO.

Texts are run one by one, on one core each, and as many side by side as there are cores. That is
faster than batches, in which cores wait for one another and compute padding; and it makes a text's
vector independent of the texts it comes with, whereas in a batch all texts would share the scale of
their 8-bit activations. A text that comes alone gets several cores, if that was measured to be
faster than one.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rag.models.devices import usable_cores
from rag.models.onnx.graph import VECTOR, Graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_ROUNDS = 3
_QUESTION_ROUNDS = 8
_TEXTS_A_CORE = 6
_RUNTIMES = ("onnxruntime", "openvino")
# Cores that one question may have to itself: its few dozen tokens are too few for more to share.
_CORES_A_QUESTION = (2, 4)
_QUESTIONS = 12
# More cores must be this many times as fast to be taken from other work.
_WORTHWHILE = 1.05


class Session(Protocol):
    """A graph in memory, which any number of threads may run at once."""

    def run(self, ids: Sequence[int], output: str) -> Floats:
        """Compute one output for one text: float32, without the axis of texts."""
        ...


def open_session(runtime: str, graph: Path, cores: int = 0) -> Session:
    """Load a graph that runs one text at a time on `cores`, or with 0 texts side by side.

    Side by side, each text has one core. Both give a text the same vector.
    """
    return _OpenVINO(graph, cores) if runtime == "openvino" else _OnnxRuntime(graph, cores)


def installed_runtimes() -> list[str]:
    """List the runtimes that are installed."""
    return [name for name in _RUNTIMES if importlib.util.find_spec(name) is not None]


@cache
def machine_key() -> str:
    """Hash what a measured speed depends on: the processor, the cores in use, and the libraries."""
    import hashlib
    import platform
    from importlib.metadata import version

    processor = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        wanted = ("model name", "flags", "Features", "CPU part")
        processor = "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
    libraries = [f"{name} {version(name)}" for name in installed_runtimes()]
    facts = (processor or platform.machine(), str(usable_cores()), *libraries)
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def choose_fastest(
    graph: Graph, choices: Sequence[tuple[str, str]], texts: Callable[[], Sequence[Sequence[int]]]
) -> tuple[str, str]:
    """Return the pair of a precision and a runtime that is fastest on this machine.

    It is measured the first time, for seconds, with the tokens that `texts` gives, and remembered
    beside the graph. If there is only one choice, nothing is measured.
    """
    if len(choices) == 1:
        return choices[0]
    machine = machine_key()
    speeds = graph.speeds(machine)
    if any(" ".join(choice) not in speeds for choice in choices):
        speeds |= _measure_texts(graph, texts(), choices)
        graph.remember_speeds(machine, speeds)
    return max(choices, key=lambda choice: speeds[" ".join(choice)])


def _measure_texts(
    graph: Graph, texts: Sequence[Sequence[int]], choices: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Measure texts a second by precision and runtime: the best of rounds that take turns.

    Other work of the machine can only make a round slower.
    """
    import time
    from concurrent.futures import ThreadPoolExecutor

    cores = usable_cores()
    chosen = [texts[at % len(texts)] for at in range(_TEXTS_A_CORE * cores)]
    sessions = {choice: open_session(choice[1], graph.file(choice[0])) for choice in choices}
    seconds: dict[tuple[str, str], list[float]] = {choice: [] for choice in choices}
    with ThreadPoolExecutor(cores) as pool:
        for session in sessions.values():
            session.run(chosen[0], VECTOR)
        for _ in range(_ROUNDS):
            for choice, session in sessions.items():
                started = time.perf_counter()
                list(pool.map(lambda ids, run=session.run: run(ids, VECTOR), chosen))
                seconds[choice].append(time.perf_counter() - started)
    return {" ".join(choice): len(chosen) / min(taken) for choice, taken in seconds.items()}


def choose_question_cores(
    graph: Graph, choice: tuple[str, str], texts: Callable[[], Sequence[Sequence[int]]]
) -> int:
    """Return on how many cores a text that comes alone is fastest; 0 if on one.

    It is measured the first time and remembered, as `choose_fastest` does. A processor with
    instructions for 8-bit products finishes a question before a second core has taken a part of it.
    """
    ways = [0, *(cores for cores in _CORES_A_QUESTION if cores <= usable_cores())]
    if len(ways) == 1:
        return 0
    machine = machine_key()
    speeds = graph.speeds(machine)
    names = {cores: f"{' '.join(choice)} question {cores or 1}" for cores in ways}
    if any(name not in speeds for name in names.values()):
        questions = sorted(texts(), key=len)[:_QUESTIONS]
        for cores, speed in _measure_questions(graph, choice, questions, ways).items():
            speeds[names[cores]] = speed
        graph.remember_speeds(machine, speeds)
    best = 0
    for cores in ways:
        if speeds[names[cores]] > _WORTHWHILE * speeds[names[best]]:
            best = cores
    return best


def _measure_questions(
    graph: Graph, choice: tuple[str, str], questions: Sequence[Sequence[int]], ways: Sequence[int]
) -> dict[int, float]:
    """Measure questions a second by the number of cores, each question at its best."""
    import time

    precision, runtime = choice
    sessions = {cores: open_session(runtime, graph.file(precision), cores) for cores in ways}
    least = dict.fromkeys(ways, [float("inf")] * len(questions))
    for _ in range(_QUESTION_ROUNDS):
        for cores, session in sessions.items():
            taken = []
            for ids in questions:
                started = time.perf_counter()
                session.run(ids, VECTOR)
                taken.append(time.perf_counter() - started)
            least[cores] = list(map(min, least[cores], taken))
    return {cores: len(questions) / sum(taken) for cores, taken in least.items()}


def inputs(ids: Sequence[int]) -> dict[str, Any]:
    """Return the inputs of a graph for one text: int64 `[1, tokens]`."""
    import numpy as np

    row = np.array([ids], dtype=np.int64)
    return {"input_ids": row, "attention_mask": np.ones_like(row)}


def _declared_inputs(ids: Sequence[int], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in inputs(ids).items() if name in names}


class _OnnxRuntime:
    def __init__(self, graph: Path, cores: int) -> None:
        # NumPy comes first: onnxruntime imports a part of it, and if another thread is importing
        # NumPy as a whole just then, each waits for the other, and Python breaks the deadlock by
        # giving one of them half a module.
        import numpy  # noqa: F401
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores or 1
        options.inter_op_num_threads = 1
        # A thread that spins while it waits for the next text would keep its core from other work.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        self._names = {each.name for each in self._session.get_inputs()}

    def run(self, ids: Sequence[int], output: str) -> Floats:
        found: Floats = self._session.run([output], _declared_inputs(ids, self._names))[0][0]
        return found


class _OpenVINO:
    def __init__(self, graph: Path, cores: int) -> None:
        import numpy as np
        import openvino

        # The binding initializes itself at the first access to a tensor's data, without a lock: two
        # threads that came first together would deadlock.
        _ = openvino.Tensor(np.zeros(1)).data
        streams = 1 if cores else usable_cores()
        core = openvino.Core()
        self._compiled = core.compile_model(
            core.read_model(str(graph)),
            "CPU",
            {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": cores or streams},
        )
        self._names = {name for each in self._compiled.inputs for name in each.names}
        self._of_thread = threading.local()

    def run(self, ids: Sequence[int], output: str) -> Floats:
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        found: Floats = request.infer(_declared_inputs(ids, self._names))[output][0].copy()
        return found
