"""Interpret the macros of man(7), and the requests that lay out text beside them."""

from __future__ import annotations

from rag.sources.formats.manpage.page import Page

HEADINGS = {"SH": 1, "SS": 2}
# Macros that set their arguments in one font, and those that alternate between two.
FONTS = frozenset({"B", "I", "SM", "SB", "R", "CW"})
MIXED = frozenset({"BR", "RB", "BI", "IB", "IR", "RI"})
_PARAGRAPHS = frozenset({"PP", "P", "LP", "HP", "sp", "YS"})
_BREAKS = frozenset({"br", "RS", "RE"})
_BULLETS = frozenset("•*-o·–—+○□")
_FENCES = {"nf": True, "EX": True, "fi": False, "EE": False}
_LINKS = {"UR": "UE", "MT": "ME"}
# Macros and requests that show nothing.
_SILENT = frozenset(
    {"PD", "DT", "AT", "UC", "IX", "PS", "PE", "EQ", "EN", "KS", "KE", "OF", "LINKSTYLE"}
)


class Man:
    """A writer of a page from macros; with `tag_follows` the next text is the tag of an item."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.title: list[str] = []
        self.tag_follows = False
        self._tag_continues = False
        self._link = ""

    def macro(self, name: str, words: list[str]) -> bool:
        """Write what a line with this macro shows, and return whether the macro is known."""
        return self._layout(name, words) or self._text(name, words) or name in _SILENT

    def add(self, text: str) -> None:
        """Write text, as the tag of an item if a tag is due."""
        if self.tag_follows:
            self.tag_follows = False
            self.page.item(text, more=self._tag_continues)
        else:
            self.page.add(text)

    def _layout(self, name: str, words: list[str]) -> bool:
        page = self.page
        if name in HEADINGS:
            page.heading(" ".join(words), HEADINGS[name])
        elif name in ("TP", "TQ"):
            self.tag_follows, self._tag_continues = True, name == "TQ"
        elif name == "IP" and words and words[0].strip():
            page.item("" if words[0].strip() in _BULLETS else words[0])
        elif name == "IP" or name in _PARAGRAPHS:
            page.paragraph()
        elif name in _FENCES:
            page.literal(_FENCES[name])
        elif name in _BREAKS:
            page.line_break()
        elif name == "TH":
            # A second title begins another page in the same file.
            self.title = self.title or words
        else:
            return False
        return True

    def _text(self, name: str, words: list[str]) -> bool:
        joined = " ".join(words)
        if name in FONTS or name in MIXED:
            if words:
                self.add(joined if name in FONTS else "".join(words))
        elif name in _LINKS:
            self._link = joined
        elif name in _LINKS.values():
            self.add(f"<{self._link}>{joined}" if self._link else joined)
            self._link = ""
        elif name in ("URL", "MTO") and words:
            target = f"<{words[0]}>"
            shown = f"{words[1]} {target}" if words[1:] and words[1] else target
            self.add(shown + "".join(words[2:]))
        elif name == "SY":
            self.page.line_break()
            self.add(joined)
        elif name == "OP":
            self.add(f"[{joined}]")
        else:
            return False
        return True
