"""The templates of a prompt: Jinja files, built in or in a user's folder, checked when loaded."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from rag.errors import ConfigError, first_line

SUFFIX = ".jinja"


@dataclass(frozen=True, slots=True)
class _Form:
    """What a template may use, with sample values, and what it has to."""

    samples: tuple[Mapping[str, Any], ...]
    needed: tuple[str, ...] = ()

    @property
    def variables(self) -> list[str]:
        return sorted(self.samples[0])


_ALWAYS = {"no_answer": "The documents do not say."}
_FORMS = {
    "system": _Form(({**_ALWAYS, "schema": None}, {**_ALWAYS, "schema": '{"type": "object"}'})),
    "question": _Form(
        (
            {**_ALWAYS, "schema": None, "question": "Why?", "passages": ""},
            {**_ALWAYS, "schema": "{}", "question": "Why?", "passages": "A passage."},
        ),
        needed=("question", "passages"),
    ),
    "passage": _Form(
        (
            {
                "number": 1,
                "text": "A text.",
                "title": "A title",
                "source": "notes/a.pdf",
                "location": "notes/a.pdf:p2 › Results",
                "heading": "Results",
                "page": 2,
            },
            {
                "number": 2,
                "text": "A text.",
                "title": "",
                "source": "",
                "location": "",
                "heading": "",
                "page": None,
            },
        ),
        needed=("number", "text"),
    ),
}


@dataclass(frozen=True, slots=True)
class Template:
    """One file of Jinja, in a sandbox; a variable that it does not have is an error."""

    file: str
    source: str
    _compiled: Any = field(repr=False, compare=False)

    def render(self, values: Mapping[str, Any]) -> str:
        """The text with `values` in place, without white space around it.

        Raises:
            ConfigError: if the template cannot be rendered with them, naming file and line.
        """
        import jinja2

        try:
            text: str = self._compiled.render(values)
        except (
            jinja2.TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            frames = traceback.extract_tb(error.__traceback__)
            line = next((f.lineno for f in reversed(frames) if f.filename == self.file), None)
            raise ConfigError(
                f"{self.file}:{line or 1}: {first_line(error)}; {_known(list(values))}"
            ) from error
        return text.strip()


@dataclass(frozen=True, slots=True)
class Templates:
    """The three parts of a prompt: what the generator is told, the last message, one passage."""

    system: Template
    question: Template
    passage: Template


def load_templates(folder: str | Path = "") -> Templates:
    """The templates in `folder`, and the built-in ones for those that it does not hold.

    Raises:
        ConfigError: if there is no such folder, or a file in it is no template, uses a variable
            that does not exist, cannot be rendered, or leaves out what a prompt needs.
    """
    if not str(folder):
        return Templates(*map(_built_in, _FORMS))
    found = {path.name: path for path in _files_in(Path(folder))}
    return Templates(
        *(
            _template(name, str(found[name + SUFFIX]), _read(found[name + SUFFIX]))
            if name + SUFFIX in found
            else _built_in(name)
            for name in _FORMS
        )
    )


def copy_templates(folder: str | Path) -> tuple[Path, ...]:
    """Write the built-in templates into `folder`, to be changed there; returns the files.

    Raises:
        ConfigError: if one of them is there already, or the folder cannot be written.
    """
    paths = {Path(folder, name + SUFFIX): _built_in(name).source for name in _FORMS}
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path}: is there already: remove it, or name another folder")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path, source in paths.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(source)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
    return tuple(paths)


@cache
def _built_in(name: str) -> Template:
    file = resources.files("rag.answering.prompt") / "templates" / (name + SUFFIX)
    return _template(name, f"built-in {file.name}", file.read_text(encoding="utf-8"))


def _files_in(folder: Path) -> list[Path]:
    names = [name + SUFFIX for name in _FORMS]
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder with templates")
    found = sorted(folder.glob(f"*{SUFFIX}"))
    for path in found:
        if path.name not in names:
            near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(names)}"
            raise ConfigError(f"{path}: unknown template; {hint}")
    if not found:
        raise ConfigError(f"{folder}: holds none of {', '.join(names)}")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def _template(name: str, file: str, source: str) -> Template:
    import jinja2
    from jinja2 import meta, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    form = _FORMS[name]
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    try:
        tree = environment.parse(source, filename=file)
        code = environment.compile(source, filename=file)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{file}:{error.lineno}: {error.message}") from error
    used = meta.find_undeclared_variables(tree) - set(environment.globals)
    for variable in tree.find_all(nodes.Name):
        if variable.name in used - set(form.variables):
            raise ConfigError(
                f"{file}:{variable.lineno}: unknown variable `{variable.name}`; "
                f"{_known(form.variables)}"
            )
    for needed in form.needed:
        if needed not in used:
            raise ConfigError(f"{file}: does not use `{needed}`, without which no answer is right")
    compiled = jinja2.Template.from_code(environment, code, environment.make_globals(None))
    template = Template(file, source, compiled)
    for values in form.samples:
        template.render(values)
    return template


def _known(variables: list[str]) -> str:
    return f"its variables are {', '.join(sorted(variables))}"
