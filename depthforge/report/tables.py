"""Tables of the page, and the section of tasks, which takes any table of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from depthforge.report.markup import Child, Markup, join, tag

__all__ = ["facts", "figure", "section", "table", "task_section"]

_MOST_ROWS = 500


def figure(value: float | None, digits: int = 3) -> str:
    """Return a number as the tables of ``evaluate`` write it: three digits, "-" for None."""
    if value is None or value != value:
        return "-"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"


def section(name: str, title: str, *children: Child) -> Markup:
    """Return a section of the page with its heading; ``name`` is what the page's own links lead to."""
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Child]],
    *,
    caption: str,
    text_columns: int = 1,
) -> Markup:
    """Return a table that scrolls sideways by itself where it is wider than the page.

    The first ``text_columns`` columns are text, the first of them the heading of its row; the others are figures and
    stand right. ``caption`` says what it is, also to who cannot see it.
    """
    head = [tag("th", name, scope="col", class_=_column_class(i, text_columns)) for i, name in enumerate(columns)]
    body = []
    for row in rows:
        cells = [tag("th", row[0], scope="row")] if row else []
        cells += [tag("td", cell, class_=_column_class(i, text_columns)) for i, cell in enumerate(row) if i]
        body.append(tag("tr", *cells))
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", *head)), tag("tbody", *body))
    # What scrolls must be reachable by the keyboard.
    return tag("div", whole, class_="scrolls", tabindex=0, role="region", aria_label=caption)


def facts(pairs: Sequence[tuple[str, Child]]) -> Markup:
    """Return a list of names and what they are."""
    return tag("dl", *(join(tag("dt", name), tag("dd", what)) for name, what in pairs), class_="facts")


def task_section(tables: Mapping[str, Sequence[Mapping[str, object]]]) -> Markup | None:
    """Return the section of what tasks found on this corpus, a table for each; None without any.

    ``tables`` maps a title to rows; the columns are the keys of its first row, in their order. Columns whose values are
    all numbers (or None) stand as figures. Of a long table the first 500 rows are shown, and it says so.
    """
    shown = {title: rows for title, rows in tables.items() if rows}
    if not shown:
        return None
    parts: list[Child] = [
        tag("p", "What networks learn from this corpus: trained on it and tested, task by task.", class_="lead")
    ]
    for title, rows in shown.items():
        parts.append(tag("h3", title))
        parts.append(_rows_table(title, rows[:_MOST_ROWS]))
        if len(rows) > _MOST_ROWS:
            parts.append(tag("p", f"{_MOST_ROWS} of {len(rows)} rows.", class_="note"))
    return section("tasks", "Tasks", *parts)


def _rows_table(title: str, rows: Sequence[Mapping[str, object]]) -> Markup:
    columns = list(rows[0])
    numbers = {name for name in columns if all(_is_number(row.get(name)) for row in rows)}
    text = [name for name in columns if name not in numbers]
    ordered = [*text, *(name for name in columns if name in numbers)]
    cells = [[_cell(row.get(name)) for name in ordered] for row in rows]
    return table(ordered, cells, caption=title, text_columns=max(1, len(text)))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object) -> str:
    if value is None or isinstance(value, float):
        return figure(value)
    return str(value)


def _column_class(index: int, text_columns: int) -> str | None:
    return None if index < text_columns else "number"
