"""The check of licences names what is not accepted, and what names none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "licences.py"


@pytest.fixture
def licences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(module, "OURS", "zz-ours")
    return module


def install(folder: Path, name: str, *lines: str) -> None:
    place = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    place.mkdir()
    text = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines, "", ""])
    (place / "METADATA").write_text(text, encoding="utf-8")


def test_what_this_package_needs_is_accepted(licences: ModuleType) -> None:
    licences.OURS = "checkable-rag"
    assert licences.main() == 0


@pytest.mark.parametrize(
    "stated",
    [
        "License-Expression: GPL-3.0-only",
        "License-Expression: MIT AND GPL-3.0-only",
        "License: Proprietary",
        "Classifier: License :: OSI Approved :: GNU Affero General Public License v3",
        "Summary: names none",
    ],
)
@pytest.mark.parametrize("where", ["", " ; extra == 'more'"])
def test_what_is_not_accepted_is_named(
    stated: str,
    where: str,
    licences: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    extra = "Provides-Extra: more"
    install(tmp_path, "zz-ours", "License: MIT", extra, f"Requires-Dist: zz-good{where}")
    install(tmp_path, "zz-good", "License-Expression: MIT OR Apache-2.0", "Requires-Dist: zz-bad")
    assert licences.main() == 0
    install(tmp_path, "zz-bad", stated)
    assert licences.main() == 1
    assert "zz-bad: " in capsys.readouterr().err
