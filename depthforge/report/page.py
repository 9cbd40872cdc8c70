"""The page around its sections: one file, and a policy that lets it ask nothing of any network.

Style sheet and scripts are files of this package, put into the page; the Content-Security-Policy names their hashes and
allows pictures that are in the page (``data:``), and nothing else: no request, no other script, no inline style. Were
an escape ever forgotten, what it let in would still not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from depthforge.report.markup import Markup, join, raw, tag

__all__ = ["SCRIPTS", "STYLE", "asset", "page"]

STYLE: Final = "page.css"
SCRIPTS: Final = ("gallery.js", "cloud.js")


def asset(name: str) -> str:
    """Return the text of a file that this package ships for the page."""
    return (files("depthforge.report") / name).read_text(encoding="utf-8")


def page(title: str, lead: str, sections: Sequence[tuple[str, str, Markup]], extras: Sequence[Markup]) -> str:
    """Return the whole page: ``sections`` as (name, title, content), ``extras`` that stand behind them, unseen."""
    style, scripts = asset(STYLE), [asset(name) for name in SCRIPTS]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, scripts)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{title}: depthforge report"),
        tag("style", raw(style)),
    )
    links = [tag("li", tag("a", told, href=f"#{name}")) for name, told, _ in sections]
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("header", tag("h1", title), tag("p", lead), class_="page-head"),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *(content for _, _, content in sections), id="content", tabindex=-1),
        tag("footer", tag("p", "Made by depthforge report. This page asks nothing of any network.")),
        *extras,
        *(tag("script", raw(script)) for script in scripts),
    )
    return "<!DOCTYPE html>\n" + join(tag("html", head, body, lang="en")) + "\n"


def _policy(style: str, scripts: Sequence[str]) -> str:
    hashes = " ".join(_source(script) for script in scripts)
    return (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {hashes}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
