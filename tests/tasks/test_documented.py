"""docs/tasks.md names every task and figure; fields are in the page that is made from the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthforge.registry import tasks


@pytest.mark.usefixtures("built_in_plugins")
def test_every_task_and_figure_is_on_the_page(repository: Path) -> None:
    text = (repository / "docs" / "tasks.md").read_text()
    for name in tasks.names():
        assert f"### `{name}`" in text
        section = text.split(f"### `{name}`")[1].split("\n## ")[0].split("\n### ")[0]
        for figure in tasks.get(name).figures:
            assert f"`{figure.id}`" in section, figure.id
