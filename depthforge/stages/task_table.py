"""The stage behind a table of tasks: corpora that rows need, trainings, tests, and the table itself.

Everything that a row names is opened before the first training, so what is missing is told at once. What is made lies
in the folder of the table: corpora, networks, cells; a table that was stopped goes on behind its last finished cell,
and a row that changed is the only one that is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from depthforge import registry
from depthforge.corpus.companions import put_task_table
from depthforge.errors import InputError
from depthforge.identity import fingerprint_of
from depthforge.manifest import Manifest, TrainingSettings
from depthforge.manifest_file import load_manifest
from depthforge.stages.cell_runners import CellJob, measure_cells
from depthforge.stages.cluster import RayOptions
from depthforge.stages.real_side import made_corpus, real_corpus
from depthforge.stages.train import train
from depthforge.stages.training_folder import identity_of, is_trained
from depthforge.stages.training_plan import plan_training
from depthforge.storage import open_storage
from depthforge.tasks.adaptation import require_adaptable
from depthforge.tasks.base import InputDepth, Task
from depthforge.tasks.cells import Lesson, Row, cell_file, measured_cell
from depthforge.tasks.judging import Interval, figures_with_intervals
from depthforge.tasks.learning import TaskTraining
from depthforge.tasks.published import published_beside
from depthforge.tasks.reading import Frames
from depthforge.tasks.table import Table, write_table
from depthforge.tasks.table_manifest import FramesBlock, RowBlock, TableManifest

__all__ = ["make_table"]

Note = Callable[[str], None]


def make_table(
    manifest: TableManifest,
    *,
    only: tuple[str, ...] = (),
    record: bool = False,
    ray: RayOptions | None = None,
    note: Note = lambda _: None,
    warn: Note | None = None,
) -> Table:
    """Make what is missing of the table, write it to its folder, and return it.

    ``only`` makes just the rows of these names, and writes no table. With ``record`` the table is put into every corpus
    that a row is trained on, too, whose report then shows it. Cells are measured on Ray as ``ray`` says, in this
    process where it is None, and so are corpora and translators made that rows need. ``warn`` takes what is slow or
    went wrong, ``note`` where it is None.

    Raises UnknownNameError for a row that is not there, InputError when a corpus lacks truth, a label or frames, and
    as the conversion and ``measure_cells`` do; finished cells are kept in all of these.
    """
    blocks = manifest.chosen(only)
    cls = registry.tasks.get(manifest.task.name)
    task: Task = cls(manifest.task.config)
    for block in blocks:
        if block.corpus is not None:
            TaskTraining(task, Lesson(block.corpus, block.input, block.split).frames(task))
    side = _real(manifest, ray, note)
    tested = _lesson(side, "depth_raw", manifest.real.test)
    test = tested.frames(task)
    _require_unseen(_lesson(side, "depth_raw", manifest.real.train).frames(task), test)
    rows = [_row(manifest, block, task, side, ray, note) for block in blocks]
    folder = manifest.out.absolute()
    seeds = {row.name: manifest.seeds if row.lesson is not None else manifest.seeds[:1] for row in rows}
    jobs = [CellJob(task, row, seed, tested, folder) for row in rows for seed in seeds[row.name]]
    missing = [job for job in jobs if not cell_file(task, job.row, job.seed, test, folder).exists()]
    measure_cells(missing, ray, note, warn or note)
    found: dict[str, Mapping[str, Interval]] = {}
    for row in rows:
        cells = [measured_cell(task, row, seed, test, folder, note) for seed in seeds[row.name]]
        measured = [cell for cell in cells if cell is not None]
        if not measured:
            raise InputError(
                f"the input of the task {task.name} says nothing by itself",
                where=f"rows: {row.name}",
                expected="a row that is trained",
                remedy="remove the row `untrained: true`",
            )
        found[row.name] = figures_with_intervals(measured, task)
        note(f"{row.name}: {_told(task, found[row.name])}")
    config = task.config
    table = Table(
        name=manifest.name,
        task=task.name,
        steps=f"{config.steps} steps" if config.steps is not None else f"{config.epochs} epochs",
        seeds=manifest.seeds,
        tested=f"Tested on {len(test)} real frames of {side.name} that no row was trained on.",
        columns=task.figures,
        rows=found,
        trained_on={block.name: _words(block) for block in blocks},
        published=published_beside(task.name, manifest.published),
    )
    if not only:
        write_table(table, manifest.out)
        if record:
            pairs = zip(rows, blocks, strict=True)
            for corpus in sorted({row.lesson.corpus for row, block in pairs if row.lesson and not block.supervised}):
                note(f"recorded: {put_task_table(open_storage(corpus), manifest.name, table.for_report())}")
    return table


def _real(manifest: TableManifest, ray: RayOptions | None, note: Note) -> Path:
    real = manifest.real.corpus or manifest.real.manifest
    assert real is not None
    return real_corpus(real, manifest.out / "corpora", note, ray=ray)


def _require_unseen(learnt: Frames, test: Frames) -> None:
    both = set(learnt.keys) & set(test.keys)
    if both:
        raise InputError(
            "frames are tested on that supervised rows are trained on",
            where="real.train and real.test",
            expected="parts or splits without a frame in common",
            found=f"{len(both)} frames in both, such as {min(both)}",
        )


def _row(manifest: TableManifest, block: RowBlock, task: Task, side: Path, ray: RayOptions | None, note: Note) -> Row:
    """Return what a row trains on, its corpus made where need be; raises as ``Frames`` where it lacks something."""
    real = manifest.real.train
    tuning = None
    if block.finetune is not None:
        every = max(1, round(1 / block.finetune))
        tuning = _lesson(side, "depth_raw", real.model_copy(update={"every": real.every * every}))
    if block.untrained:
        return Row(block.name, None)
    if block.supervised:
        lesson = _lesson(side, "depth_raw", real)
    else:
        lesson = Lesson(_corpus(manifest, block, ray, note).absolute(), block.input, block.split)
    target = None
    if block.adaptation is not None:
        require_adaptable(task, block.adaptation)
        target = replace(_lesson(side, "depth_raw", real), labelled=False)
    for each in (lesson, tuning, target):
        if each is not None:
            TaskTraining(task, each.frames(task))
    return Row(block.name, lesson, tuning, block.adaptation, target)


def _lesson(corpus: Path, input_depth: InputDepth, frames: FramesBlock) -> Lesson:
    return Lesson(corpus.absolute(), input_depth, frames.split, frames.part, frames.every)


def _corpus(manifest: TableManifest, block: RowBlock, ray: RayOptions | None, note: Note) -> Path:
    """Return the corpus that a row is trained on, made from its manifest or translator where it is not there."""
    if block.corpus is not None:
        return block.corpus
    if block.manifest is not None:
        conversion = load_manifest(block.manifest)
    else:
        conversion = _converting(manifest, block)
    if _needs_training(conversion):
        note(f"{block.name}: training the translator {conversion.translator.name}")
        if ray is None:
            train(conversion, inline=True)
        else:
            train(conversion, address=ray.address, stall_limit_s=ray.stall_limit_s)
    return made_corpus(conversion, note, ray=ray)


def _needs_training(conversion: Manifest) -> bool:
    """True for a manifest whose translator takes weights that its own ``training`` has not made yet."""
    if conversion.training is None or not conversion.with_weights().translator.takes(conversion.training.out):
        return False
    return not is_trained(plan_training(conversion, inline=True))


def _converting(manifest: TableManifest, block: RowBlock) -> Manifest:
    """Return the manifest that puts the clean source through the row's translator, into the table's folder."""
    assert block.translator is not None
    clean = load_manifest(cast(Path, manifest.clean))
    training = None
    if block.translator.is_learned and getattr(block.translator.config, "weights", None) is None:
        training = _training(manifest, clean.model_copy(update={"translator": block.translator}))
    conversion = clean.model_copy(update={"translator": block.translator, "training": training})
    mark = fingerprint_of(conversion.portable())[:12]
    corpus = conversion.corpus.model_copy(update={"out": manifest.out / "corpora" / f"{block.translator.name}-{mark}"})
    return conversion.model_copy(update={"name": f"{clean.name}-{block.translator.name}", "corpus": corpus})


def _training(manifest: TableManifest, clean: Manifest) -> TrainingSettings | None:
    """Return how ``clean`` trains its translator, in a folder of the table's own for each training; None: not said."""
    if clean.training is None:
        return None
    mark = fingerprint_of(identity_of(plan_training(clean)))[:12]
    out = manifest.out / "translators" / f"{clean.translator.name}-{mark}"
    return clean.training.model_copy(update={"out": out})


def _words(block: RowBlock) -> str:
    if block.untrained:
        said = "nothing: the scans as they are"
    elif block.supervised:
        said = "real frames and their truth"
    elif block.corpus is not None:
        said = f"corpus {block.corpus.name}"
    elif block.manifest is not None:
        said = f"corpus of {block.manifest.name}"
    else:
        assert block.translator is not None
        said = f"clean frames through {block.translator.name}"
    said += ", its clean depth" if block.input == "depth_clean" and not block.supervised else ""
    if block.adaptation is not None:
        said += f"; brought to the real frames by {block.adaptation.method}, without their labels"
    return said if block.finetune is None else f"{said}; {block.finetune:.0%} of the real frames after it"


def _told(task: Task, figures: Mapping[str, Interval]) -> str:
    headline = task.headline
    found = figures[headline.id]
    return f"{headline.title} {found.value:.{headline.decimals}f} {headline.unit} [{found.low:.3g}, {found.high:.3g}]"
