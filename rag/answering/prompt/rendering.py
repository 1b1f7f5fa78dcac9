"""Load the templates of a prompt, built in or in a user's folder, and check them."""

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
from rag.types import NO_ANSWER

SUFFIX = ".jinja"
# What the expressions of a template may raise.
_FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Form:
    """The variables of a template, with sample values, and those that it must use."""

    samples: tuple[Mapping[str, Any], ...]
    needed: tuple[str, ...] = ()

    @property
    def variables(self) -> list[str]:
        return sorted(self.samples[0])


# What a template is told of a passage that stands in no document.
NO_ORIGIN = {"title": "", "source": "", "location": "", "heading": "", "page": None}
_ALWAYS = {"no_answer": NO_ANSWER}
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
            {**NO_ORIGIN, "number": 2, "text": "A text."},
        ),
        needed=("number", "text"),
    ),
}


@dataclass(frozen=True, slots=True)
class Template:
    """A Jinja file, compiled in a sandbox; an unknown variable is an error."""

    file: str
    source: str
    _compiled: Any = field(repr=False, compare=False)

    def render(self, values: Mapping[str, Any]) -> str:
        """Fill `values` into the template, and strip white space around the text.

        Raises:
            ConfigError: if the template cannot be rendered with them; it names file and line.
        """
        import jinja2

        try:
            text: str = self._compiled.render(values)
        except (jinja2.TemplateError, *_FAILURES) as error:
            frames = traceback.extract_tb(error.__traceback__)
            line = next((f.lineno for f in reversed(frames) if f.filename == self.file), None)
            raise ConfigError(
                f"{self.file}:{line or 1}: {first_line(error)}; {_list_variables(list(values))}"
            ) from error
        return text.strip()


@dataclass(frozen=True, slots=True)
class Templates:
    """The three parts of a prompt: instructions, the message with the question, one passage."""

    system: Template
    question: Template
    passage: Template


def load_templates(folder: str | Path = "") -> Templates:
    """Load the templates in `folder`, and the built-in ones that it does not replace.

    Raises:
        ConfigError: if there is no such folder, or a file in it is no template, uses a variable
            that does not exist, cannot be rendered, or leaves out what a prompt needs.
    """
    if not str(folder):
        return Templates(*map(_load_built_in, _FORMS))
    found = {path.name: path for path in _list_files(Path(folder))}
    return Templates(
        *(
            _compile(name, str(found[name + SUFFIX]), _read_text(found[name + SUFFIX]))
            if name + SUFFIX in found
            else _load_built_in(name)
            for name in _FORMS
        )
    )


def copy_templates(folder: str | Path) -> tuple[Path, ...]:
    """Write the built-in templates into `folder`, where a user can change them; return the files.

    Raises:
        ConfigError: if one of them is there already, or the folder cannot be written.
    """
    paths = {Path(folder, name + SUFFIX): _load_built_in(name).source for name in _FORMS}
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
def _load_built_in(name: str) -> Template:
    file = resources.files("rag.answering.prompt") / "templates" / (name + SUFFIX)
    return _compile(name, f"built-in {file.name}", file.read_text(encoding="utf-8"))


def _list_files(folder: Path) -> list[Path]:
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


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def _compile(name: str, file: str, source: str) -> Template:
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
    # A number of thousands of digits, or a thousand brackets within one another.
    except _FAILURES as error:
        raise ConfigError(f"{file}: cannot be compiled: {first_line(error)}") from error
    used = meta.find_undeclared_variables(tree) - set(environment.globals)
    for variable in tree.find_all(nodes.Name):
        if variable.name in used - set(form.variables):
            raise ConfigError(
                f"{file}:{variable.lineno}: unknown variable `{variable.name}`; "
                f"{_list_variables(form.variables)}"
            )
    for needed in form.needed:
        if needed not in used:
            raise ConfigError(f"{file}: does not use `{needed}`, without which no answer is right")
    compiled = jinja2.Template.from_code(environment, code, environment.make_globals(None))
    template = Template(file, source, compiled)
    for values in form.samples:
        template.render(values)
    return template


def _list_variables(variables: list[str]) -> str:
    return f"its variables are {', '.join(sorted(variables))}"
