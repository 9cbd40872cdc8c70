"""What a user writes: one YAML file, read into typed, frozen data, checked before anything runs.

``${NAME}`` and ``${NAME:-default}`` in a value are filled from the environment when a file is read, and nowhere
else (``manifest_file``). Relative paths are relative to the working directory. Every field is checked against the
plug-in that it configures; an unknown one is an error that lists the known ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from depthforge.addresses import Address, address_of
from depthforge.encoding import Codec, DepthEncoding
from depthforge.errors import InputError, ManifestError
from depthforge.manifest_problems import WrongFieldsError, problems_of, raise_problems
from depthforge.registry import Registry, sources, translators
from depthforge.yaml_files import YamlFile

__all__ = [
    "CorpusSettings",
    "Labels",
    "Manifest",
    "NightlySettings",
    "PluginBlock",
    "Presence",
    "TrainingSettings",
    "WatchSettings",
    "parse_as",
    "parse_manifest",
]

M = TypeVar("M", bound=BaseModel)

Presence = Literal["required", "if_present", "off"]
_SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]*")


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusSettings(_Block):
    """What the corpus looks like on disk."""

    out: Address = Field(description="directory of the corpus, or s3://bucket/prefix (gs://, az://); made by the run")
    shard_frames: int = Field(default=256, ge=1, le=65536, description="frames that one task makes and commits")
    depth: DepthEncoding = DepthEncoding()
    codec: Codec = Codec()
    colour: Literal["as_shipped", "lossless", "jpeg"] = Field(
        default="as_shipped",
        description="as_shipped: the JPEG files of a source that has them, else lossless; jpeg: makes files of pixels",
    )
    jpeg_quality: int = Field(default=95, ge=1, le=100, description="of the files that `colour: jpeg` makes")

    @field_validator("out", mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        return address_of(value, where="corpus.out") if isinstance(value, str | Path) else value


def _sound_splits(splits: dict[str, float]) -> dict[str, float]:
    bad = [name for name in splits if not _SPLIT_NAME.fullmatch(name)]
    if bad:
        raise ValueError(f"split names are lower-case words, not {bad}")
    if not splits or any(not 0 <= share <= 1 for share in splits.values()) or abs(sum(splits.values()) - 1) > 1e-9:
        raise ValueError(f"shares of the splits must lie in [0, 1] and sum to 1, not {splits}")
    return splits


Labels = dict[str, Presence]
_SPLITS_SAY = (
    "share of scenes in each split, drawn by a hash of each scene's name, so that more scenes never move others; where "
    "that leaves a split empty, by the rank of the hash: each has at least one scene then, but more scenes (or a "
    "higher `limit`) can move others"
)

Splits = Annotated[dict[str, float], AfterValidator(_sound_splits)]


class PluginBlock(BaseModel):
    """A plug-in by name with its own typed configuration; written flat: ``{name: simulation, sigma_shift_px: 0.5}``."""

    model_config = ConfigDict(frozen=True)
    name: str
    config: SerializeAsAny[BaseModel]

    @classmethod
    def parse(cls, registry: Registry, value: Any) -> PluginBlock:
        """Check a mapping (or a bare name) against the plug-in's ``Config``."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise ManifestError(
                f"a {registry.kind} is a mapping with a name",
                where=registry.kind,
                expected=f"name: one of {', '.join(registry.names())}",
                found=value,
            )
        plugin = registry.get(value["name"], where=f"{registry.kind}.name")
        fields = {key: item for key, item in value.items() if key != "name"}
        try:
            return cls(name=value["name"], config=plugin.Config.model_validate(fields))
        except ValidationError as error:
            _explain(error, plugin.Config, prefix=registry.kind)

    @property
    def is_learned(self) -> bool:
        """True for a translator that needs trained weights."""
        return "weights" in type(self.config).model_fields

    def takes(self, weights: Address) -> bool:
        """True for a learned translator whose weights are in the folder ``weights``."""
        return self.is_learned and getattr(self.config, "weights", None) == weights

    def portable(self) -> dict[str, Any]:
        """Return the block without what only holds on this machine: the ``local_fields`` of its configuration."""
        local: frozenset[str] = getattr(self.config, "local_fields", frozenset())
        fields = {name: value for name, value in self.flat().items() if name not in local}
        nested = {name: getattr(self.config, name) for name in type(self.config).model_fields if name not in local}
        return fields | {name: block.portable() for name, block in nested.items() if isinstance(block, PluginBlock)}

    @model_serializer
    def flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.config.model_dump(mode="json")}


class WatchSettings(BaseModel):
    """When a training counts as collapsed and is stopped."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    enabled: bool = Field(default=True, description="false: signs are still reported, and none stops the training")
    grace_steps: int = Field(
        default=1000, ge=0, description="steps before a sign counts: an untrained network shows most of them"
    )
    patience: int = Field(default=3, ge=1, description="evaluations in a row with the same sign that stop the training")
    slow_patience: int = Field(
        default=10,
        ge=1,
        description="the same for what often passes: geometry, no holes yet, a discriminator that is ahead or silent",
    )
    min_spread: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="one picture for all: spread of a pixel's output over the frames, as a share of the clean depth's",
    )
    max_holes: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="nearly everything a hole: this share of the way from the real frames with most holes to all holes",
    )
    min_holes: float = Field(
        default=0.01, ge=0, lt=1, description="no holes: share of those that the real frames with fewest have"
    )
    max_separation: float = Field(
        default=0.999,
        gt=0.5,
        le=1,
        description="the discriminator always wins: chance that it ranks a real patch above a generated one",
    )
    min_logit_spread: float = Field(
        default=1e-3,
        ge=0,
        description="the discriminator says nothing: standard deviation of its logits over all patches, real or not",
    )
    max_depth_off: float = Field(
        default=0.3,
        gt=0,
        description="distorted geometry: median distance of smoothed output to smoothed clean depth, share of depth",
    )
    max_normals_off_deg: float = Field(
        default=45.0, gt=0, le=180, description="distorted geometry: median angle of normals to those of clean depth"
    )


class TrainingSettings(_Block):
    """How a learned translator is trained, on the clean source of the manifest and real scans, unpaired.

    The defaults are the published ones of DCL but for ``crop_px`` (published: whole frames) and ``fixed_pairing``.
    """

    real: PluginBlock = Field(description="the source of the real scans")
    more_real: tuple[PluginBlock, ...] = Field(
        default=(), description="sources of further recordings of the same sensor, of frames of the same size"
    )
    unseen: tuple[PluginBlock, ...] = Field(
        default=(),
        description="sources of recordings that nothing is trained on: what the translator gives there is in its card",
    )
    leave_one_out: bool = Field(
        default=False,
        description="train once more without each recording; its card then says what they give when they are unseen",
    )
    out: Address = Field(
        description="folder or URL of the trained translator, its checkpoints and curves; made by the run"
    )
    epochs: int = Field(default=40, ge=1, description="passes over the clean frames at the full learning rate")
    decay_epochs: int = Field(default=20, ge=0, description="passes in which the learning rate falls to 0")
    steps_per_epoch: int | None = Field(default=None, ge=1, description="default: clean frames / batch_size")
    batch_size: int = Field(default=12, ge=1, description="images of each side in a step, a multiple of `workers`")
    crop_px: int | None = Field(
        default=256, ge=32, multiple_of=4, description="side of the random crops; null: whole frames, as published"
    )
    fixed_pairing: bool = Field(
        default=False, description="one real frame for each clean one, as published; else drawn anew in every epoch"
    )
    max_frames: int = Field(default=2000, ge=2, description="frames of each side that are decoded and kept, at most")
    held_out: float = Field(default=0.1, gt=0, lt=0.9, description="share of each side, its end, kept for evaluation")
    evaluate_every: int = Field(default=500, ge=1, description="steps between evaluations; each is a checkpoint")
    evaluation_frames: int = Field(default=16, ge=2, description="held-out frames of each side in an evaluation")
    patience: int | None = Field(default=None, ge=1, description="evaluations without a better score that end it")
    keep_checkpoints: int = Field(default=2, ge=1, description="latest checkpoints kept, beside the best")
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        default="float32", description="bfloat16: mixed precision; tf32: float32 with products of 10 bits on a GPU"
    )
    compile: bool = Field(default=False, description="torch.compile the networks: slower to start, faster on a GPU")
    workers: int = Field(default=1, ge=1, description="processes, each with a share of the batch; a GPU each if any")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is a GPU")
    watch: WatchSettings = Field(default=WatchSettings(), description="the signs of collapse that stop a training")

    @field_validator("out", mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        return address_of(value, where="training.out") if isinstance(value, str | Path) else value

    @field_validator("real", mode="before")
    @classmethod
    def _source(cls, value: Any) -> PluginBlock:
        return PluginBlock.parse(sources, value)

    @field_validator("more_real", "unseen", mode="before")
    @classmethod
    def _sources(cls, value: Any) -> tuple[PluginBlock, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError("is a list of sources")
        return tuple(PluginBlock.parse(sources, each) for each in value)

    @property
    def recordings(self) -> tuple[PluginBlock, ...]:
        """The sources of all real scans."""
        return (self.real, *self.more_real)


class NightlySettings(_Block):
    """What `depthforge nightly` holds the new frames of each version against, and how far off they may be.

    Figures are the distances of `depthforge evaluate`, by the names that it prints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    real: PluginBlock = Field(description="the source of the real scans")
    frames: int = Field(default=40, ge=2, le=1000, description="new frames, and of each half of the scans, measured")
    at_most: dict[str, float] = Field(
        default_factory=dict, description="distance to the real scans -> the most that it may be"
    )
    rise_at_most: dict[str, float] = Field(
        default_factory=dict,
        description="distance to the real scans -> how far it may lie above that of the version before",
    )

    @field_validator("real", mode="before")
    @classmethod
    def _source(cls, value: Any) -> PluginBlock:
        return PluginBlock.parse(sources, value)


class Manifest(_Block):
    """One run: where clean frames come from, what makes them noisy, which labels ride along, what is written."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="name of the corpus")
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of every random choice")
    source: PluginBlock
    translator: PluginBlock
    labels: Labels = Field(
        default_factory=dict,
        description="label -> required (rejects a frame without it), if_present or off; unnamed: if_present",
    )
    splits: Splits = Field(default_factory=lambda: {"train": 1.0}, description=_SPLITS_SAY)
    limit: int | None = Field(default=None, ge=1, description="convert the first N frames only")
    max_reject_fraction: float = Field(default=0.01, ge=0, le=1, description="more rejects than this fail the run")
    corpus: CorpusSettings
    training: TrainingSettings | None = Field(default=None, description="how a learned translator is trained")
    nightly: NightlySettings | None = Field(default=None, description="what versions of a growing corpus are held to")

    @field_validator("source", "translator", mode="before")
    @classmethod
    def _plugin(cls, value: Any, info: ValidationInfo) -> PluginBlock:
        return PluginBlock.parse(sources if info.field_name == "source" else translators, value)

    def portable(self) -> dict[str, Any]:
        """Return the resolved manifest without anything of this machine: no output path, no local root."""
        resolved = self.model_dump(mode="json")
        del resolved["corpus"]["out"], resolved["nightly"]
        resolved["source"] = self.source.portable()
        resolved["translator"] = self.translator.portable()
        if self.training is None:
            del resolved["training"]
        else:
            del resolved["training"]["out"]
            resolved["training"]["real"] = self.training.real.portable()
            for name in ("more_real", "unseen"):
                resolved["training"][name] = [block.portable() for block in getattr(self.training, name)]
        return resolved

    def with_weights(self) -> Manifest:
        """Return the manifest whose translator, if it is learned and names no weights, takes those of ``training``."""
        config = self.translator.config
        if self.training is None or not self.translator.is_learned or getattr(config, "weights", None) is not None:
            return self
        translator = self.translator.model_copy(
            update={"config": config.model_copy(update={"weights": self.training.out})}
        )
        return self.model_copy(update={"translator": translator})

    def overridden(
        self,
        *,
        out: Address | None = None,
        seed: int | None = None,
        limit: int | None = None,
        translator: str | None = None,
        sensor: str | None = None,
    ) -> Manifest:
        """Return a copy with what the command line set over it; another translator takes its own defaults."""
        values: dict[str, Any] = {}
        if out is not None:
            values["corpus"] = self.corpus.model_copy(update={"out": out})
        if seed is not None:
            values["seed"] = seed
        if limit is not None:
            values["limit"] = limit
        if translator is not None and translator != self.translator.name:
            values["translator"] = PluginBlock.parse(translators, translator)
        if sensor is not None:
            if translator not in (None, "simulation"):
                raise InputError("a sensor is simulated", where="--sensor", expected="--translator simulation, or none")
            values["translator"] = PluginBlock.parse(translators, {"name": "simulation", "sensor": sensor})
        kept = {name: getattr(self, name) for name in type(self).model_fields}
        return parse_manifest({**kept, **values}, where="command line")


def parse_manifest(value: Mapping[str, Any], *, where: object, file: YamlFile | None = None) -> Manifest:
    """Check a mapping as a manifest; ``where`` names its origin in errors, ``file`` the lines of its fields."""
    return parse_as(Manifest, value, where=where, file=file)


def parse_as(model: type[M], value: Mapping[str, Any], *, where: object, file: YamlFile | None = None) -> M:
    """Check a mapping as a file of another kind; raises ManifestError as :func:`parse_manifest`. For ``tasks``."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        return _explain(error, model, where=where, file=file)


def _explain(
    error: ValidationError,
    model: type[BaseModel],
    *,
    where: object = None,
    prefix: str = "",
    file: YamlFile | None = None,
) -> NoReturn:
    """Raise the problems of a pydantic error in words."""
    problems = error.errors(include_url=False)
    cause = problems[0].get("ctx", {}).get("error")
    if len(problems) == 1 and isinstance(cause, InputError) and not isinstance(cause, WrongFieldsError):
        place = file.place_of(tuple(problems[0]["loc"])) if file is not None else None
        origin = where if place is None else f"{where}, {place}"
        cause.where = f"{origin}: {cause.where}" if where else cause.where
        raise cause from None
    raise_problems(problems_of(error, model), where=where, prefix=prefix, file=file)
