"""A framework that is not installed is named, with what installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = """
import sys
for name in ("langchain_core", "llama_index", "haystack"):
    sys.modules[name] = None
import rag.integrations
from rag import ConfigError
try:
    import rag.integrations.{module}
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("module", ["langchain", "llamaindex", "haystack"])
def test_a_missing_framework_names_its_extra(module: str) -> None:
    script = BLOCKED.format(module=module)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith(f"rag.integrations.{module} needs `")
    assert f"pip install 'checkable-rag[{module}]'" in result.stdout
