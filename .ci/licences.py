"""Fail unless every package that ours needs, directly or not, has a licence that we accept.

`python .ci/licences.py` looks at what is installed of this package's own requirements and extras.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution, metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "checkable-rag"
# By SPDX identifier, or by what older packages say in its place, in lower case. MPL 2.0 binds
# changes to its own files alone, and we make none.
ACCEPTED = {
    *("0bsd", "any-osi", "apache-2.0", "apache-2.0 with llvm-exception", "bsd", "bsd-2-clause"),
    *(
        "bsd-3-clause",
        "bsl-1.0",
        "cc0-1.0",
        "cnri-python",
        "isc",
        "mit",
        "mit-0",
        "mit-cmu",
        "mpl-2.0",
    ),
    *("psf-2.0", "unlicense", "zlib", "psfl"),
    *("apache 2.0", "apache 2.0 license", "apache license 2.0", "apache license, version 2.0"),
    *("apache software license", "3-clause bsd license", "bsd license", "bsd 3-clause license"),
    *("isc license", "isc license (iscl)", "mit license", "mozilla public license 2.0 (mpl 2.0)"),
    "python software foundation license",
}
# Packages whose metadata say less than their licences, or that only tests use.
KNOWN = {
    "atheris": "Apache 2.0, which its file says and its metadata do not",
    "dirtyjson": "MIT, or the Academic Free License",
    "docutils": "public domain and BSD, but for one file for an editor, which is not installed",
    "pypdfium2": "BSD or Apache, and the permissive licences of what PDFium is made of",
    "fpdf2": "LGPL: makes PDF files for tests, and is in no installation of a user",
}


def licences_of(name: str) -> list[str]:
    """Return the licences that an installed package names, in lower case."""
    facts = metadata(name)
    if expression := facts.get("License-Expression"):
        return [each.strip(" ()").lower() for each in re.split(r"\s+(?:AND|OR)\s+", expression)]
    classified = [
        each.rpartition(" :: ")[2].lower()
        for each in facts.get_all("Classifier") or ()
        if each.startswith("License :: ") and each.count(" :: ") > 1
    ]
    stated = (facts.get("License") or "").strip().splitlines()[:1]
    parts = [part.strip().lower() for line in stated for part in re.split(r" AND | OR ", line)]
    return classified or [part for part in parts if part]


def gather_needs(name: str, extras: frozenset[str], found: dict[str, frozenset[str]]) -> None:
    """Collect the installed packages that `name` needs with these extras."""
    key = canonicalize_name(name)
    if extras <= found.get(key, frozenset()) and key in found:
        return
    try:
        requirements = distribution(name).requires or ()
    except PackageNotFoundError:
        # It is for another system, or belongs to an extra that is not installed.
        return
    found[key] = found.get(key, frozenset()) | extras
    for each in map(Requirement, requirements):
        marker = each.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            gather_needs(each.name, frozenset(each.extras), found)


def main() -> int:
    """Print the packages whose licence is not accepted, or not known."""
    found: dict[str, frozenset[str]] = {}
    gather_needs(OURS, frozenset(metadata(OURS).get_all("Provides-Extra") or ()), found)
    refused = {
        name: licences
        for name in sorted(found)
        if name not in KNOWN
        and (not (licences := licences_of(name)) or not ACCEPTED.issuperset(licences))
    }
    for name, licences in refused.items():
        sys.stderr.write(f"{name}: {', '.join(licences) or 'names no licence'}: not accepted\n")
    sys.stdout.write(f"licences: {len(found)} packages, {len(refused)} not accepted\n")
    return 1 if refused or len(found) < len(distribution(OURS).requires or ()) // 2 else 0


if __name__ == "__main__":
    sys.exit(main())
