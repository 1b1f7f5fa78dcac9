"""Interpret the macros of mdoc(7), which mark what words mean; only the words are written."""

from __future__ import annotations

from rag.sources.formats.manpage.page import Page
from rag.sources.formats.manpage.syntax import GLUE, arguments, strip_escapes

_CLOSING = frozenset(".,:;)]?!")
_OPENING = frozenset("([")
_PAIRS = {
    **{"Op": "[]", "Bq": "[]", "Brq": "{}", "Aq": "<>", "Pq": "()", "Dq": "“”", "Sq": "‘’"},
    **{"Ql": "‘’", "Qq": '""'},
}
_OPENERS = dict(zip(("Oo", "Bo", "Bro", "Ao", "Po", "Do", "So", "Qo"), '[[{<(“‘"', strict=True))
_CLOSERS = dict(zip(("Oc", "Bc", "Brc", "Ac", "Pc", "Dc", "Sc", "Qc"), ']]}>)”’"', strict=True))
_SYSTEMS = {
    **{"Ux": "UNIX", "Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD"},
    **{"Dx": "DragonFly", "At": "AT&T UNIX", "Bsx": "BSD/OS"},
}
_WITHOUT = {"Ar": "file ...", "Pa": "~"}
# Macros whose arguments are shown as they are.
_STYLES = frozenset(
    {"Ad", "An", "Ap", "Ar", "Cd", "Cm", "Dv", "Ec", "Em", "Eo", "Er", "Ev", "Fa", "Fl", "Fn"}
    | {"Ft", "Ic", "In", "Lb", "Li", "Lk", "Ms", "Mt", "Nm", "No", "Ns", "Pa", "Pf", "St", "Sx"}
    | {"Sy", "Ta", "Tn", "Va", "Vt", "Xc", "Xo", "Xr"}
)
_CALLABLE = _STYLES | _PAIRS.keys() | _OPENERS.keys() | _CLOSERS.keys() | _SYSTEMS.keys()
_OWN_LINE_IN_SYNOPSIS = frozenset({"Nm", "In", "Ft", "Fn", "Fo", "Fd", "Vt", "Cd"})
_UNTAGGED = ("-bullet", "-dash", "-hyphen", "-enum", "-item")
_IGNORED = frozenset({"Os", "Bk", "Ek", "Bf", "Ef", "Ud", "Bt", "Hf", "Db"})
_MACROS = frozenset(
    {"Bd", "Bl", "D1", "Dd", "Dl", "Dt", "Ed", "El", "Ex", "Fc", "Fd", "Fo", "It", "Lp", "Nd"}
    | {"Pp", "Re", "Rs", "Rv", "Sh", "Sm", "Ss"}
)


class Mdoc:
    """A writer of a page from macros and lines of text."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.title: list[str] = []
        self.date = ""
        self.name = ""
        self.description = ""
        self._lists: list[str] = []
        self._synopsis = False
        self._tight = False
        self._follows = False
        self._reference: list[str] | None = None
        self._function: list[str] | None = None
        self._tag: list[str] | None = None

    def knows(self, macro: str) -> bool:
        """Whether `macro` is a macro of mdoc."""
        return macro in _CALLABLE or macro in _MACROS or macro in _IGNORED or macro.startswith("%")

    def macro(self, name: str, rest: str) -> None:
        """Write what a line with this macro shows."""
        words = arguments(rest)
        shown = " ".join(strip_escapes(word) for word in words)
        page = self.page
        if name in _IGNORED:
            return
        if name in _MACROS:
            getattr(self, f"_on_{name.lower()}")(words, shown)
        elif name.startswith("%") and self._reference is not None:
            self._reference.append(shown)
        elif name.startswith("%"):
            self._add(shown)
        elif name == "Fa" and self._function is not None:
            self._function.append(shown)
        elif name == "Xc" and self._tag is not None:
            tag, self._tag = " ".join([*self._tag, self._phrase(words)]), None
            page.item(tag)
        else:
            if self._synopsis and name in _OWN_LINE_IN_SYNOPSIS:
                page.line_break()
            self._add(self._phrase([name, *words]))
            if self._synopsis and name == "Ft":
                page.line_break()

    def _add(self, text: str) -> None:
        text = text.replace(GLUE + " ", GLUE).replace(" " + GLUE, GLUE)
        if self._tight and self._follows:
            text = GLUE + text
        self._follows = True
        if self._tag is not None:
            self._tag.append(text)
        else:
            self.page.add(text)

    def _on_dd(self, words: list[str], shown: str) -> None:
        self.date = shown.replace("$Mdocdate:", "").strip(" $")

    def _on_dt(self, words: list[str], shown: str) -> None:
        self.title = shown.split()

    def _on_sh(self, words: list[str], shown: str) -> None:
        self._synopsis = shown == "SYNOPSIS"
        self._lists.clear()
        self.page.heading(self._phrase(words), 1)

    def _on_ss(self, words: list[str], shown: str) -> None:
        self.page.heading(self._phrase(words), 2)

    def _on_pp(self, words: list[str], shown: str) -> None:
        self.page.paragraph()

    _on_lp = _on_pp

    def _on_nd(self, words: list[str], shown: str) -> None:
        self.description = self.description or shown
        self._add(f"— {shown}")

    def _on_bl(self, words: list[str], shown: str) -> None:
        self._lists.append(shown)
        self.page.paragraph()

    def _on_el(self, words: list[str], shown: str) -> None:
        del self._lists[-1:]
        self.page.paragraph()

    def _on_it(self, words: list[str], shown: str) -> None:
        kind = self._lists[-1] if self._lists else ""
        if "-column" in kind:
            self.page.literal(False)
            self.page.line_break()
            self._add(self._phrase(words).replace("\t", " | "))
        else:
            untagged = any(form in kind for form in _UNTAGGED)
            tag = "" if untagged else self._phrase(words)
            if "Xo" in words and not untagged:
                self._tag = [tag]
            else:
                self.page.item(tag)

    def _on_bd(self, words: list[str], shown: str) -> None:
        self.page.paragraph()
        self.page.literal("-literal" in words or "-unfilled" in words)

    def _on_ed(self, words: list[str], shown: str) -> None:
        self.page.literal(False)
        self.page.paragraph()

    def _on_dl(self, words: list[str], shown: str) -> None:
        nested = self.page.is_literal
        self.page.literal(True)
        self._add(self._phrase(words))
        self.page.literal(nested)

    _on_d1 = _on_dl

    def _on_fd(self, words: list[str], shown: str) -> None:
        self.page.line_break()
        self.page.add(shown)
        self.page.line_break()

    def _on_fo(self, words: list[str], shown: str) -> None:
        if self._synopsis:
            self.page.line_break()
        self._function = [shown]

    def _on_fc(self, words: list[str], shown: str) -> None:
        name, *values = self._function or [""]
        self._function = None
        self._add(f"{name}({', '.join(values)})" + (f"{GLUE}{shown}" if shown else ""))

    def _on_rs(self, words: list[str], shown: str) -> None:
        self.page.paragraph()
        self._reference = []

    def _on_re(self, words: list[str], shown: str) -> None:
        if self._reference:
            self._add(", ".join(self._reference) + ".")
        self._reference = None

    def _on_rv(self, words: list[str], shown: str) -> None:
        name = shown.removeprefix("-std").strip() or self.name
        self._add(
            f"The {name}() function returns the value 0 if successful; otherwise the value -1 is "
            "returned and the global variable errno is set to indicate the error."
        )

    def _on_ex(self, words: list[str], shown: str) -> None:
        name = shown.removeprefix("-std").strip() or self.name
        self._add(f"The {name} utility exits 0 on success, and >0 if an error occurs.")

    def _on_sm(self, words: list[str], shown: str) -> None:
        self._tight = shown == "off" or (not shown and not self._tight)
        self._follows = False

    def _phrase(self, words: list[str]) -> str:
        """Render words and the macros among them as text, with `GLUE` where no space may be."""
        out: list[str] = []
        ends: list[str] = []
        tail: list[str] = []
        at = 0
        while len(words) > 1 and words[-1] in _CLOSING:
            tail.insert(0, words.pop())
        while at < len(words):
            word, at = words[at], at + 1
            if word not in _CALLABLE:
                out.append(_glue_punctuation(word))
                continue
            first = at
            while at < len(words) and words[at] not in _CALLABLE:
                at += 1
            values = words[first:at]
            if word in _PAIRS:
                out.append(_PAIRS[word][0] + GLUE)
                ends.append(GLUE + _PAIRS[word][1])
                out += map(_glue_punctuation, values)
            else:
                out += self._call_macro(word, values)
        out += [*reversed(ends), *map(_glue_punctuation, tail)]
        return (GLUE if self._tight else " ").join(out)

    def _call_macro(self, macro: str, values: list[str]) -> list[str]:
        # Punctuation that closes or opens is not an argument.
        ends = [index for index, word in enumerate(values) if word in _CLOSING | _OPENING]
        own = [strip_escapes(word) for word in values[: ends[0] if ends else None]]
        rest = [_glue_punctuation(word) for word in values[len(own) :]]
        if macro in _OPENERS:
            return [_OPENERS[macro] + GLUE, *own, *rest]
        if macro in _CLOSERS:
            return [GLUE + _CLOSERS[macro], *own, *rest]
        return self._apply_style(macro, own, bare=not values) + rest

    def _apply_style(self, macro: str, own: list[str], *, bare: bool) -> list[str]:
        if macro in _SYSTEMS:
            own = [f"{own[0]}BSD"] if macro == "Bx" and own else [_SYSTEMS[macro], *own[:1]]
        elif macro == "Fl":
            own = [f"-{word}" for word in own] or ["-" + (GLUE if bare else "")]
        elif macro == "Nm":
            self.name = self.name or " ".join(own)
            own = own or [self.name]
        elif macro == "Xr":
            own = [f"{own[0]}({own[1]})" if len(own) > 1 else " ".join(own)]
        elif macro == "Fn" and own:
            own = [f"{own[0]}({', '.join(own[1:])})"]
        elif macro == "In":
            shown = f"<{' '.join(own)}>"
            own = [f"#include {shown}" if self._synopsis else shown]
        elif macro == "Lk" and len(own) > 1:
            own = [" ".join(own[1:]), f"<{own[0]}>"]
        elif macro in ("Ns", "Ap"):
            own = [GLUE + ("'" + GLUE if macro == "Ap" else ""), *own]
        elif macro == "Pf" and own:
            own = [own[0] + GLUE, *own[1:]]
        elif macro == "Ta":
            own = ["|", *own]
        elif macro == "An":
            own = [word for word in own if word not in ("-split", "-nosplit")]
        elif macro in _WITHOUT and not own:
            own = [_WITHOUT[macro]]
        return own


def _glue_punctuation(word: str) -> str:
    if word in _CLOSING:
        return GLUE + word
    return word + GLUE if word in _OPENING else strip_escapes(word)
