"""Where everything of a corpus lies, and ``corpus.json``, which says what it is. See docs/corpus-format.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from depthforge import __version__
from depthforge.corpus.plan_file import PLAN_FILE, PlanSummary
from depthforge.corpus.schema import CorpusSchema
from depthforge.errors import CorpusError, MissingDataError, StorageError, told
from depthforge.frame import Licence
from depthforge.identity import fingerprint_of
from depthforge.storage import Place, open_storage

__all__ = [
    "CORPUS_FILE",
    "FORMAT_VERSION",
    "QUANTITY",
    "CorpusInfo",
    "Layout",
    "PlanInfo",
    "SourceInfo",
    "TranslatorInfo",
]

FORMAT_VERSION: Final = 2
QUANTITY: Final = "planar z"
CORPUS_FILE: Final = "corpus.json"
_UNITS: Final = {"depth": "m", "translation": "m", "K": "px"}
_CONVENTIONS: Final = {
    "depth": "planar z along the optical axis, not the length of the ray; what is stored times scale_factor is metres",
    "no_measurement": "the _FillValue of the array (0 for uint16, NaN for float32), and only that",
    "pixels": "(u, v) = (0, 0) is the centre of the top-left pixel",
    "axes": "OpenCV: x right, y down, z forward; T_world_cam maps camera coordinates to world coordinates",
    "labels": "bit for bit as the source has them; has_<label> in the index says whether a frame has one",
}
_DAMAGED: Final = (
    "bring corpus.json back from a copy of the corpus (SHA256SUMS has its hash), or make the corpus anew: depthforge "
    "synthesize MANIFEST --overwrite"
)
# depthforge's own version is beside them.
_WRITING_PACKAGES: Final = ("numcodecs", "numpy", "pyarrow")


class Layout:
    """The names of what a corpus consists of, in the storage that holds it."""

    info: Final = CORPUS_FILE
    lock: Final = ".lock"
    plan: Final = PLAN_FILE
    plans: Final = "plan"
    shards: Final = "shards"
    index: Final = "index"
    index_whole: Final = "index.parquet"
    rejects: Final = "rejects"
    replacement: Final = ".replacement"
    """A new corpus that is to take the place of this one when it is whole."""
    translator: Final = "translator"
    report: Final = "report"
    report_page: Final = "report/index.html"
    tasks: Final = "tasks"
    """What networks learnt from the corpus, a table a file, put there after it was finished."""
    card: Final = "README.md"
    croissant: Final = "croissant.json"
    sums: Final = "SHA256SUMS"

    @staticmethod
    def shard(shard: str) -> str:
        """The zarr group of a shard."""
        return f"{Layout.shards}/{shard}.zarr"

    @staticmethod
    def index_part(shard: str) -> str:
        """The index part of a shard: that it exists says that the shard is committed."""
        return f"{Layout.index}/{shard}.parquet"

    @staticmethod
    def rejects_part(shard: str) -> str:
        """The rejects of a shard; there is none when every frame was converted."""
        return f"{Layout.rejects}/{shard}.parquet"

    @staticmethod
    def commit_lock(shard: str) -> str:
        """The lock under which a shard is committed."""
        return f"{Layout.index}/.{shard}.lock"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class SourceInfo(_Record):
    """The data set that the frames come from."""

    name: str
    adapter_version: int
    licence: Licence


class TranslatorInfo(_Record):
    """What made the noise."""

    name: str
    version: int
    fingerprint: str


class PlanInfo(_Record):
    """What the plan promises; ``digest`` covers every key and its shard."""

    num_frames: int
    num_shards: int
    frames_per_split: dict[str, int]
    digest: str


class CorpusInfo(_Record):
    """The content of ``corpus.json``: no credential and no path of the machine that wrote it."""

    format_version: int
    name: str
    fingerprint: str
    identity: dict[str, Any]
    units: dict[str, str]
    quantity: str
    conventions: dict[str, str]
    source: SourceInfo
    translator: TranslatorInfo
    plan: PlanInfo
    stored_schema: dict[str, Any] = Field(alias="schema")
    manifest: dict[str, Any]
    versions: dict[str, str]

    @classmethod
    def describe(
        cls,
        *,
        name: str,
        identity: Mapping[str, Any],
        manifest: Mapping[str, Any],
        source: SourceInfo,
        translator: TranslatorInfo,
        schema: CorpusSchema,
        plan: PlanSummary,
    ) -> Self:
        """Return the description of a new corpus.

        ``identity`` is, as plain data, what decides its bytes; ``manifest`` the portable one, for whoever reads.
        """
        return cls(
            format_version=FORMAT_VERSION,
            name=name,
            fingerprint=fingerprint_of(identity),
            identity=dict(identity),
            units=_UNITS,
            quantity=QUANTITY,
            conventions=_CONVENTIONS,
            source=source,
            translator=translator,
            plan=PlanInfo(
                num_frames=plan.num_frames,
                num_shards=plan.num_shards,
                frames_per_split=dict(sorted(plan.frames_per_split.items())),
                digest=plan.digest,
            ),
            schema=schema.to_json(),
            manifest=dict(manifest),
            versions=_installed_versions(),
        )

    @property
    def corpus_schema(self) -> CorpusSchema:
        """The schema as an object."""
        return CorpusSchema.from_json(self.stored_schema)

    def to_bytes(self) -> bytes:
        """Return the text of ``corpus.json``."""
        value = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def load(cls, root: Place) -> Self:
        """Read ``corpus.json`` of the corpus at ``root``.

        Raises MissingDataError when there is none, CorpusError when its format is unknown, it lacks its units or it
        cannot be read.
        """
        storage = open_storage(root)
        path = storage.where(CORPUS_FILE)
        try:
            value = json.loads(storage.read(CORPUS_FILE))
            found = value["format_version"]
        except FileNotFoundError:
            raise MissingDataError(
                "this is not a corpus", where=storage.address, expected=f"a directory that holds {CORPUS_FILE}"
            ) from None
        except StorageError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                "corpus.json cannot be read",
                where=path,
                expected="a JSON object with a format_version, and all else that a corpus says of itself",
                found=f"something else ({error})",
                remedy=_DAMAGED,
            ) from error
        if found != FORMAT_VERSION:
            raise CorpusError(
                "this version of the corpus format is not read here",
                where=path,
                expected=f"format_version {FORMAT_VERSION}",
                found=repr(found),
                remedy=_remedy_for_version(found),
            )
        for field, expected in (("units", _UNITS), ("quantity", QUANTITY)):
            if value.get(field) != expected:
                raise CorpusError(
                    f"the corpus does not say its {field}",
                    where=f"{path}: {field}",
                    expected=expected,
                    found=value.get(field, "nothing"),
                    remedy="depth without them cannot be used; restore the file (its hash is in SHA256SUMS)",
                )
        try:
            return cls.model_validate(value)
        except pydantic.ValidationError as error:
            found = told(
                (
                    f"{'.'.join(map(str, each['loc']))}: {each['msg']}: {each['input']!r:.60}"
                    for each in error.errors(include_url=False)
                ),
                joint="; ",
            )
            raise CorpusError("corpus.json is not sound", where=path, found=found, remedy=_DAMAGED) from None


def _remedy_for_version(found: object) -> str:
    if isinstance(found, int) and found > FORMAT_VERSION:
        return "a newer depthforge wrote it: pip install --upgrade depthforge"
    return "make the corpus anew with --overwrite, or read it with the depthforge that `versions` in it names"


def _installed_versions() -> dict[str, str]:
    versions = {"depthforge": __version__}
    for package in _WRITING_PACKAGES:
        # What lies on the path without having been installed has no version on record.
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
