"""Whatever is put into a page is text, unless this package made it markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.report.markup import Markup, join, link, raw, tag

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\x00"))


class _Seen(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXT, TEXT)
def test_a_parser_finds_the_very_text_again_and_no_element_in_it(text: str, title: str) -> None:
    seen = _Seen(tag("p", text, title=title))
    assert seen.tags == [("p", [("title", title)])]
    assert seen.text == text


def test_children_are_escaped_markup_is_not_and_none_is_nothing() -> None:
    inner = tag("b", "a<b")
    assert join(inner, " & ", None, 3, [inner, "x"]) == "<b>a&lt;b</b> &amp; 3<b>a&lt;b</b>x"
    assert isinstance(join("a"), Markup)
    assert raw("<i>") == "<i>"


def test_attributes_are_named_as_html_names_them() -> None:
    element = tag("input", class_="wide", aria_label='"', checked=True, hidden=False, value=None, data_n=1.5, for_="a")
    assert element == '<input class="wide" aria-label="&quot;" checked data-n="1.5" for="a"/>'


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", " https://a.b", "file:///etc", None, ""])
def test_what_does_not_lead_to_the_web_is_no_link(url: str | None) -> None:
    assert link(url, "<x>") == "&lt;x&gt;"


def test_a_link_to_the_web_is_one_and_tells_nobody_where_it_stood() -> None:
    assert link("https://a.b/?c&d", "x") == '<a href="https://a.b/?c&amp;d" rel="noreferrer">x</a>'


def test_bytes_that_are_no_text_do_not_end_the_page() -> None:
    tag("p", "name \udcff").encode()
