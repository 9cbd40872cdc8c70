"""Does a corpus teach anything? A small network is trained on it and tested on real scans, within minutes.

Three networks of the same size and steps: one on the corpus' clean depth (no noise: what a team without depthforge
has), one on its noisy depth, and one on the real scans' own first half with their truth (what one has only after
scanning with poses, and the level to reach). All are tested on the second half in time. The same room on both sides of
the cut flatters the third. Figures depend on steps, seed and frames alone; ``seconds`` only chooses the steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from depthforge import registry
from depthforge.addresses import Address
from depthforge.corpus.companions import put_task_table
from depthforge.stages.real_side import real_corpus
from depthforge.storage import open_storage
from depthforge.tasks.base import Figure, Metrics, Task
from depthforge.tasks.cells import Lesson, Row, measured_cell
from depthforge.tasks.judging import Interval, as_json, differences_with_intervals, figures_with_intervals
from depthforge.tasks.learning import StepBatches, TaskObjective
from depthforge.tasks.reading import Frames
from depthforge.tasks.table import report_rows

__all__ = ["Trial", "steps_within", "try_corpus"]

GIVEN, CLEAN, CORPUS, SUPERVISED = "nothing: the scans as they are", "clean depth", "the corpus", "real scans"
_TESTED: Final = 40
_TIMED_STEPS: Final = 4
# Three trainings share the time with reading, testing and making the real side.
_SHARE_OF_TIME: Final = 0.7 / 3

Note = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """What came out: the figures of each row, with what they were measured on.

    ``gain`` is the headline figure of training on clean depth less that of training on the corpus, frame for frame.
    """

    task: str
    columns: tuple[Figure, ...]
    rows: Mapping[str, Mapping[str, Interval]]
    steps: int
    num_tested: int
    corpus: str
    gain: Interval

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "task": self.task,
            "corpus": self.corpus,
            "steps": self.steps,
            "tested_frames": self.num_tested,
            "gain": as_json({"gain": self.gain})["gain"],
            "figures": {figure.id: {"unit": figure.unit, "better": figure.better} for figure in self.columns},
            "rows": {name: as_json(figures) for name, figures in self.rows.items()},
        }

    def record(self, corpus: Address) -> str:
        """Put the table into ``corpus``, whose report then shows it; return where it lies. Raises StorageError."""
        return put_task_table(open_storage(corpus), f"try-{self.task}", report_rows(self.columns, self.rows))

    def lines(self) -> list[str]:
        """Return the table and what it means, a line each."""
        head = f"{self.task}: networks of {self.steps} steps, tested on {self.num_tested} real scans they have not seen"
        return [head, "", *_table(self.columns, self.rows), "", *self.meaning()]

    def meaning(self) -> list[str]:
        """Say in plain words what the headline figure shows."""
        figure = self.columns[0]
        clean, noisy = self.rows[CLEAN][figure.id], self.rows[CORPUS][figure.id]
        real = self.rows[SUPERVISED][figure.id]
        sign = 1 if figure.better == "lower" else -1
        title = f"{figure.title} ({figure.unit})" if figure.unit else figure.title
        said = [f"By {title}, of which {figure.better} is better, over the same frames:"]
        two = f"{noisy.value:.{figure.decimals}f} against {clean.value:.{figure.decimals}f}"
        bounds = sorted((sign * self.gain.low, sign * self.gain.high))
        by = f"by {bounds[0]:.{figure.decimals}f} to {bounds[1]:.{figure.decimals}f} (95 % interval)"
        if bounds[0] > 0:
            said.append(f"- training on the corpus beats training on clean depth: {two}, {by}.")
        elif bounds[1] < 0:
            said.append(f"- training on the corpus is worse than training on clean depth: {two}.")
        else:
            said.append(f"- the corpus teaches nothing that clean depth does not, as far as these frames tell: {two}.")
        gap = sign * (clean.value - real.value)
        if gap > 0:
            share = sign * (clean.value - noisy.value) / gap
            said.append(
                f"- real scans with truth of the same room give {real.value:.{figure.decimals}f}; the corpus comes "
                f"{100 * share:.0f} % of the way from clean depth to there."
            )
        else:
            said.append("- real scans with truth did not beat clean depth here: too few steps, or too few scans.")
        said.append("Other recordings would give other numbers: the intervals know only the frames of this one.")
        return said


def try_corpus(
    corpus: Address,
    real: Path,
    folder: Path,
    *,
    task: str = "enhancement",
    steps: int | None = None,
    seconds: float | None = None,
    seeds: Sequence[int] = (0,),
    note: Note = lambda _: None,
) -> Trial:
    """Train and test the three networks, keeping in ``folder`` what is made, and return the figures.

    ``steps`` of each training, else as many as fit in ``seconds``, else those of the task's small setting. Raises as
    ``real_corpus``, ``Frames`` and ``measured_cell`` do.
    """
    cls = registry.tasks.get(task)
    made: Task = cls(cls.Config(setting="small"))
    # Opened before anything is made or trained: what is missing is told at once.
    learnt = Frames(corpus, made, "depth_noisy")
    side = real_corpus(real, folder, note)
    first = Frames(side, made, "depth_raw", part=(0.0, 0.5))
    for frames in (learnt, first):
        frames.require_larger_than(made.config.crop_px)
    second = Frames(side, made, "depth_raw", part=(0.5, 1.0))
    test = Frames(side, made, "depth_raw", part=(0.5, 1.0), every=-(-len(second) // _TESTED))
    if steps is None and seconds is not None:
        steps = steps_within(made, learnt, seconds)
        note(f"{steps} steps a training fit in {seconds:.0f} s on this machine; --steps {steps} gives the same again")
    if steps is not None:
        made = cls(cls.Config(setting="small", steps=steps))
    rows = (
        Row(GIVEN, None),
        Row(CLEAN, Lesson(corpus, "depth_clean")),
        Row(CORPUS, Lesson(corpus, "depth_noisy")),
        Row(SUPERVISED, Lesson(side, "depth_raw", part=(0.0, 0.5))),
    )
    found: dict[str, Mapping[str, Interval]] = {}
    tests: dict[str, list[Metrics]] = {}
    for row in rows:
        cells = [measured_cell(made, row, seed, test, folder, note) for seed in (seeds if row.lesson else seeds[:1])]
        measured = [cell for cell in cells if cell is not None]
        if measured:
            found[row.name], tests[row.name] = figures_with_intervals(measured, made), measured
    assert made.config.steps is not None
    gain = differences_with_intervals(tests[CLEAN], tests[CORPUS], made)[made.headline.id]
    return Trial(task, made.figures, found, made.config.steps, len(test), learnt.fingerprint, gain)


def steps_within(task: Task, frames: Frames, seconds: float) -> int:
    """Return how many steps each of three trainings may have to end within ``seconds``, timed on a few."""
    objective = TaskObjective(task, torch.Generator().manual_seed(0))
    start = 0.0
    for step, batch in enumerate(StepBatches(task, frames, 0).steps(0, _TIMED_STEPS + 1)):
        if step == 1:
            start = time.monotonic()
        objective.step(batch)
    each = (time.monotonic() - start) / _TIMED_STEPS
    return max(10, int(_SHARE_OF_TIME * seconds / each) // 10 * 10)


def _table(columns: Sequence[Figure], rows: Mapping[str, Mapping[str, Interval]]) -> list[str]:
    """Return a figure a line, a row of the trial a column: values with their 95 % intervals."""
    names = list(rows)
    width = max(len(figure.title) + len(figure.unit) + 2 for figure in columns)
    cells = [
        [f"{each.value:.{f.decimals}f} [{each.low:.{f.decimals}f}, {each.high:.{f.decimals}f}]" for each in values]
        for f in columns
        for values in [[rows[name][f.id] for name in names]]
    ]
    wide = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    head = " " * width + "  " + "  ".join(name.rjust(w) for name, w in zip(names, wide, strict=True))
    lines = [head]
    for figure, row in zip(columns, cells, strict=True):
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        lines.append(title.ljust(width) + "  " + "  ".join(c.rjust(w) for c, w in zip(row, wide, strict=True)))
    return lines
