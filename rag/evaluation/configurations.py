"""Settings of a configuration by its name, such as `hybrid+rerank`."""

from __future__ import annotations

import difflib

from rag.config import Config, check_settings, known_settings, replace_settings
from rag.errors import ConfigError

CURRENT = "current"

# Ways to answer; how passages are found stays as the settings say.
WAYS = ("auto", "generate", "extract")
# A mode of search alone: no reranking and no diversity unless the name adds them.
_BARE = {"retrieval.rerank": "none", "retrieval.diversity": "0"}
_MODES = {
    CURRENT: {},
    "dense": {"retrieval.mode": "dense", **_BARE},
    "lexical": {"retrieval.mode": "lexical", **_BARE},
    "hybrid": {"retrieval.mode": "hybrid", "retrieval.fusion": "convex", **_BARE},
    "rrf": {"retrieval.mode": "hybrid", "retrieval.fusion": "rrf", **_BARE},
    **{way: {"answering.way": way} for way in WAYS},
}
_PARTS = {"rerank": {"retrieval.rerank": "late-interaction"}, "mmr": {"retrieval.diversity": "0.3"}}
_EXPANSIONS = ("rm3", "rocchio", "multi-query", "hyde")
# All configurations share one index: settings that it was built with may not differ.
_SECTIONS = ("retrieval", "generation", "prompt", "answering")


def apply_configuration(config: Config, name: str) -> Config:
    """Change `config` as `name` says: a mode, then parts added to it, joined by `+`.

    Modes are `current` (the settings as they are), the ways to search `dense`, `lexical`, `hybrid`
    and `rrf`, and the ways to answer `auto`, `generate` and `extract`. Parts are `rerank`,
    `rm3`, `rocchio`, `multi-query`, `hyde`, `mmr`, and settings by their key, such as
    `retrieval.dense_weight=0.7`.

    Raises:
        ConfigError: if a part of the name is not known, or a setting cannot be used.
    """
    mode, *added = name.split("+")
    if mode not in _MODES:
        raise ConfigError(
            f"{name}: {mode!r} is not a way to search or to answer{_nearest(mode, [*_MODES])}"
        )
    settings: dict[str, str] = dict(_MODES[mode])
    expansion: list[str] = list(config.retrieval.expansion) if mode in (CURRENT, *WAYS) else []
    for part in added:
        key, equals, value = part.partition("=")
        if equals:
            settings[_check_key(key, name)] = value
        elif part in _EXPANSIONS:
            expansion.append(part)
        elif part in _PARTS:
            settings.update(_PARTS[part])
        else:
            known = [*_PARTS, *_EXPANSIONS]
            raise ConfigError(f"{name}: {part!r} cannot be added{_nearest(part, known)}")
    changed = {"retrieval.expansion": ",".join(expansion), **settings}
    return replace_settings(config, check_settings(changed, "the arguments"))


def _check_key(key: str, name: str) -> str:
    keys = [each for each in known_settings() if each.partition(".")[0] in _SECTIONS]
    if key not in keys:
        raise ConfigError(f"{name}: {key!r} cannot be set for a comparison{_nearest(key, keys)}")
    return key


def _nearest(part: str, known: list[str]) -> str:
    close = difflib.get_close_matches(part, known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known are {', '.join(known)}"
