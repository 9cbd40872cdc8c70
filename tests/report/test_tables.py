"""Tables show rows as they are, and tasks come as rows of anything."""

from __future__ import annotations

from depthforge.report.tables import figure, table, task_section
from tests.report.pages import Page


def test_figures_are_written_as_evaluate_writes_them() -> None:
    assert [figure(value) for value in (None, float("nan"), 0.12345, 12.3456, 123456.7)] == [
        "-", "-", "0.123", "12.3", "123,457",
    ]  # fmt: skip


def test_a_table_names_itself_its_columns_and_its_rows_and_scrolls_by_keyboard() -> None:
    page = Page(table(["name", "value"], [["<a>", "1"]], caption="what & why"))
    assert not page.mistakes
    (box,) = page.named("div")
    assert (box["role"], box["tabindex"], box["aria-label"]) == ("region", "0", "what & why")
    assert [attributes["scope"] for attributes in page.named("th")] == ["col", "col", "row"]
    assert [attributes.get("class") for attributes in page.named("td")] == ["number"]


def test_tasks_are_any_rows_with_text_first() -> None:
    rows = [
        {"mIoU": 0.5, "input": "depth_noisy", "frames": 10, "network": "<u-net>"},
        {"mIoU": None, "input": "depth_clean", "frames": 20, "network": "u-net"},
    ]
    section = task_section({"segmentation": rows, "empty": []})
    assert section is not None
    page = Page(section)
    assert "segmentationinputnetworkmIoUframesdepth_noisy<u-net>0.510depth_clean" in page.texts["tasks"].replace(
        "\n", ""
    )
    assert "empty" not in page.texts["tasks"]


def test_without_rows_there_is_no_section_and_a_long_table_is_cut() -> None:
    assert task_section({}) is None
    assert task_section({"pose": []}) is None
    section = task_section({"pose": [{"n": number} for number in range(501)]})
    assert section is not None
    assert section.count("<tr>") == 501
    assert "500 of 501 rows." in section
