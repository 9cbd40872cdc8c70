"""HTML and SVG put together so that text is always escaped.

A page is made of :class:`Markup`; whatever else becomes a part of one (a scene's name, a key, a line of a manifest) is
text, and is escaped as it is put in. Nothing has to remember to do so. The alternative, a template language, would be a
dependency for one page, and escapes by a setting.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

from depthforge.errors import printable

__all__ = ["Child", "Markup", "join", "link", "raw", "tag"]

_VOID = frozenset(("br", "circle", "img", "input", "line", "link", "meta", "path", "polyline", "rect", "stop"))


class Markup(str):
    """Text that is HTML already; made by the functions of this module alone."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Return an element; children that are no Markup are escaped, None is nothing, an iterable is its members.

    Attributes lose an underscore at their end (``class_``) and have hyphens for those within (``aria_label``). True is
    an attribute without a value; False and None leave it out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        words.append(written if value is True else f'{written}="{_escaped(value)}"')
    opening = " ".join(words)
    # Within SVG only the slash ends an element that has no content; outside it does no harm.
    return Markup(f"<{opening}/>" if name in _VOID else f"<{opening}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Return children one after the other, escaped as by :func:`tag`."""
    parts = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str | int | float):
            parts.append(Markup(_escaped(child)))
        else:
            parts.append(join(*child))
    return Markup("".join(parts))


def raw(text: str) -> Markup:
    """Return ``text`` as it is: for what this package ships itself (style sheet, scripts), never for data."""
    return Markup(text)


def link(url: str | None, text: str) -> Markup:
    """Return ``text``, as a link where ``url`` leads to the web; any other scheme (``javascript:``) is left out."""
    if url is None or not url.lower().startswith(("https://", "http://")):
        return join(text)
    return tag("a", text, href=url, rel="noreferrer")


def _escaped(value: object) -> str:
    return html.escape(printable(value), quote=True)
