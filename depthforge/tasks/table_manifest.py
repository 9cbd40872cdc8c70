"""What a table compares: one task, rows that differ in what the network is trained on, one test on real scans.

A YAML file of its own kind, for ``depthforge evaluate``. It is recognised by ``rows``, which no other manifest has.
Variables, lines in errors and unknown fields are as in any manifest; relative paths are of the working directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from depthforge.addresses import local_folder
from depthforge.errors import UnknownNameError
from depthforge.manifest import PluginBlock, parse_as
from depthforge.manifest_file import read_filled
from depthforge.registry import tasks, translators
from depthforge.tasks.adaptation import AdaptationConfig
from depthforge.tasks.base import InputDepth

__all__ = ["FramesBlock", "RealBlock", "RowBlock", "TableManifest", "load_table"]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _share(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        return float(value.strip().removesuffix("%")) / 100
    return value


def _method(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


def _ordered(part: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= part[0] < part[1] <= 1:
        raise ValueError(f"a part is two shares in [0, 1], the smaller first, not {list(part)}")
    return part


Part = Annotated[tuple[float, float], AfterValidator(_ordered)]


class FramesBlock(_Block):
    """Which frames of a corpus: a split, a part of them in key order (time), every n-th."""

    split: str | None = Field(default=None, description="a split of the corpus; null: all frames")
    part: Part = Field(default=(0.0, 1.0), description="from and to, as shares of the frames in key order")
    every: int = Field(default=1, ge=1, description="every n-th of them")


class RealBlock(_Block):
    """The real side: a corpus that carries ``depth_raw``, or the manifest of posed scans, which are fused."""

    corpus: Path | None = Field(default=None, description="folder of a corpus that carries depth_raw")
    manifest: Path | None = Field(default=None, description="manifest whose source reads scans with poses")
    train: FramesBlock = Field(
        default=FramesBlock(part=(0.0, 0.5)), description="frames for supervised rows and fine-tuning"
    )
    test: FramesBlock = Field(default=FramesBlock(part=(0.5, 1.0)), description="frames that every row is tested on")

    @model_validator(mode="after")
    def _one(self) -> RealBlock:
        if (self.corpus is None) == (self.manifest is None):
            raise ValueError("name either `corpus` or `manifest`")
        return self


class RowBlock(_Block):
    """One row: what its network is trained on, said by one of corpus, manifest, translator, supervised, untrained."""

    ways: ClassVar[tuple[str, ...]] = ("corpus", "manifest", "translator", "supervised", "untrained")

    name: str = Field(min_length=1, description="name of the row")
    corpus: Path | None = Field(default=None, description="folder of a corpus")
    manifest: Path | None = Field(default=None, description="manifest of a conversion, run where it is not yet done")
    translator: PluginBlock | None = Field(
        default=None, description="applied to the source of `clean`; a learned one is trained as `clean` says"
    )
    supervised: bool = Field(default=False, description="trained on the real frames of `real.train`")
    untrained: bool = Field(default=False, description="no network: the scans as they are, holes filled")
    input: InputDepth = Field(default="depth_noisy", description="of `corpus` and `manifest`; depth_clean: no noise")
    split: str | None = Field(default=None, description="split of the training corpus; null: all frames")
    finetune: Annotated[float | None, BeforeValidator(_share)] = Field(
        default=None, gt=0, le=1, description="then tuned on this share of `real.train` (10%), at a tenth of the rate"
    )

    adaptation: Annotated[AdaptationConfig | None, BeforeValidator(_method)] = Field(
        default=None,
        description="dann, uan or cycada: brought to the frames of `real.train` meanwhile, without their labels",
    )

    @field_validator("translator", mode="before")
    @classmethod
    def _plugin(cls, value: Any) -> PluginBlock | None:
        return None if value is None else PluginBlock.parse(translators, value)

    @model_validator(mode="after")
    def _one(self) -> RowBlock:
        said = [name for name in self.ways if getattr(self, name) not in (None, False)]
        if len(said) != 1:
            found = " and ".join(said) or "none"
            raise ValueError(f"row {self.name!r}: say one of {', '.join(self.ways)}, not {found}")
        if self.finetune is not None and (self.supervised or self.untrained):
            raise ValueError(f"row {self.name!r}: fine-tuning goes on from a network of another corpus")
        if self.adaptation is not None and (self.supervised or self.untrained):
            raise ValueError(f"row {self.name!r}: adaptation is of a network that another corpus trains")
        return self


class TableManifest(_Block):
    """A table of one task."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="name of the table")
    description: str = Field(default="", description="a sentence, for readers")
    task: PluginBlock = Field(description="the task with its settings (`setting: small`, `steps`)")
    seeds: tuple[int, ...] = Field(default=(0,), description="a training of each row for each")
    clean: Path | None = Field(default=None, description="manifest whose source rows with a `translator` convert")
    real: RealBlock = Field(description="what every row is tested on")
    rows: tuple[RowBlock, ...] = Field(description="what is compared")
    published: Literal["task", "ablation", "none"] = Field(
        default="task", description="printed rows beside it: the task's table; ablation: DCL's Table VI, of enhancement"
    )
    out: Path = Field(description="folder of the table, its finished cells, networks and corpora; made by the run")

    @field_validator("task", mode="before")
    @classmethod
    def _task(cls, value: Any) -> PluginBlock:
        return PluginBlock.parse(tasks, value)

    @field_validator("out", mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        return local_folder(value, where="out") if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _sound(self) -> TableManifest:
        names = [row.name for row in self.rows]
        if not names or not self.seeds:
            raise ValueError("a table has a row and a seed at least")
        if len(set(names)) != len(names):
            raise ValueError(f"two rows have the same name: {names}")
        if self.clean is None and any(row.translator is not None for row in self.rows):
            raise ValueError("a row with a `translator` needs `clean`: the manifest whose source it converts")
        if self.published == "ablation" and self.task.name != "enhancement":
            raise ValueError(f"the published ablation is of enhancement, not of {self.task.name}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"a seed is there twice: {list(self.seeds)}")
        return self

    def chosen(self, names: tuple[str, ...]) -> tuple[RowBlock, ...]:
        """Return the rows of these names, all where none is named; UnknownNameError for another name."""
        known = {row.name: row for row in self.rows}
        for name in names:
            if name not in known:
                raise UnknownNameError("row", name, known, where=self.name)
        return tuple(row for row in self.rows if not names or row.name in names)


def load_table(path: Path) -> TableManifest:
    """Read and check the manifest of a table; raises as ``manifest_file.load_manifest``."""
    file = read_filled(path)
    return parse_as(TableManifest, file.value, where=path, file=file)
