"""What every learned translator shares: trained weights and their card, the device, its training's view of a frame.

A method of depth inherits ``learned_depth.LearnedDepth``, which adds metres and holes; one of colour, or of both,
inherits ``Learned`` and says

* ``produces``, ``wanted`` and ``translate_batch``, as every translator does;
* ``make_networks``, what conversion needs, and ``make_objective``, what ``training.loop`` trains;
* ``images``, how it sees a frame: the named images that its batches hold;
* ``make_scorer``, what tells a good checkpoint from a bad one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator
from torch import nn

from depthforge.addresses import Address, address_of
from depthforge.errors import InputError, MissingDataError
from depthforge.frame import Capture, Frame
from depthforge.identity import Identity, changed_fields
from depthforge.networks.compiling import compile_network
from depthforge.networks.precision import Precision
from depthforge.storage import open_storage
from depthforge.training.objective import Objective
from depthforge.training.scoring import HeldOut, Scorer
from depthforge.training.translator_card import CARD_FILE, WEIGHTS_FILE, Normalisation, TranslatorCard, read_card
from depthforge.training.weights import load_networks
from depthforge.translators.adversarial import ObjectiveConfig
from depthforge.translators.base import GpuUse, Translator, TranslatorConfig

__all__ = ["Learned", "LearnedConfig", "choose_device", "device_of", "failures_of_the_worker"]

# Resident memory of a worker, rounded up from measurements (benchmarks/bench_memory --translator dcl): torch itself,
# and activations at their peak, counted in images of the first layer's channels. CUDA's libraries are an assumption.
TORCH_BYTES, WIDEST_IMAGES, CUDA_BYTES = 200 * 2**20, 13, 3 * 2**30


class LearnedConfig(TranslatorConfig):
    """How trained weights are used. A method adds the options that it is trained with."""

    # Where things lie and run here; they change no byte.
    local_fields: ClassVar[frozenset[str]] = frozenset({"weights", "device", "batch_size"})
    # What the networks are built from, where a method has it.
    architecture_fields: ClassVar[tuple[str, ...]] = ("width",)
    # What may change after training.
    inference_fields: ClassVar[frozenset[str]] = local_fields | {"precision"}

    weights: Address | None = Field(
        default=None, description="folder or URL of a trained translator; default: where `training` puts it"
    )
    precision: Precision = Field(
        default="float32",
        description="arithmetic of the conversion: tf32 and bfloat16 round products to 10 and 8 bits, for the units of "
        "a GPU that are made for them; on a CPU tf32 is float32",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is a GPU")
    batch_size: int | None = Field(default=None, ge=1, description="frames at once; default: 1 on a CPU, 8 on CUDA")
    compile: bool = Field(
        default=False,
        description="on CUDA, torch.compile the networks: slower at the first batch, and other rounding; where it does "
        "not work, a warning. Never on a CPU",
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _place(cls, value: Any) -> Any:
        return address_of(value, where="translator.weights") if isinstance(value, str | Path) else value

    @property
    def scale(self) -> Normalisation | None:
        """How depth is normalised, as the card keeps it; None for networks that see no depth."""
        return None

    @property
    def architecture(self) -> dict[str, Any]:
        """What the networks are built from."""
        names = [name for name in self.architecture_fields if name in type(self).model_fields]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def training_fields(cls) -> frozenset[str]:
        """Names of the options that only training reads: what they did is in the weights."""
        methods = [c for c in cls.__mro__ if issubclass(c, ObjectiveConfig) and not issubclass(c, LearnedConfig)]
        return frozenset(name for method in methods for name in method.model_fields) - set(cls.architecture_fields)

    @property
    def trained_with(self) -> dict[str, Any]:
        """Every option that training depends on, for the card."""
        return self.model_dump(mode="json", exclude=set(self.inference_fields))


class Learned(Translator):
    """A translator with networks that ``training`` trains; a subclass says how they are trained, and its Config.

    Weights are read at the first frame, so that a plan costs none.
    """

    config: LearnedConfig
    heavy: ClassVar[bool] = True
    paired: ClassVar[bool] = False
    """Whether training pairs each scan with the truth of its view. Frames of the real side then have the truth for
    depth and the scan as ``depth_raw``, batches hold nothing of the clean side, and ``images`` is asked for whole
    frames, once."""

    def __init__(self, config: LearnedConfig) -> None:
        super().__init__(config)
        self._networks: dict[str, nn.Module] | None = None
        self._weights_sha256: str | None = None
        self._copy: Path | None = None

    @classmethod
    @abstractmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> Objective:
        """Return the networks and optimisers to train, initialised from ``random``."""

    @classmethod
    @abstractmethod
    def make_networks(cls, config: LearnedConfig) -> dict[str, nn.Module]:
        """Return the networks that conversion needs, untrained."""

    @classmethod
    @abstractmethod
    def make_scorer(cls, config: LearnedConfig, held_out: HeldOut) -> Scorer | None:
        """Return what scores the checkpoints of a training; None: what ``stages`` holds noisy depth to."""

    @abstractmethod
    def images(self, frame: Frame) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return what the method sees of ``frame``, images (C, H, W) float32 by name: what training's batches hold.

        Raise FrameError for a frame without what it needs.
        """

    @abstractmethod
    def translate_batch(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        """Return what it makes of each of ``frames``, which are of one size."""

    def trains_on(self, side: Literal["clean", "real"]) -> frozenset[str]:
        """Return what training reads of the frames of a side: ``depth``, ``rgb`` or both."""
        return frozenset({"depth"} if self.needs_depth else ()) | self.wanted

    @classmethod
    def of_networks(cls, config: LearnedConfig, networks: Mapping[str, nn.Module]) -> Self:
        """Return a translator that uses ``networks`` as they are, on their device, in evaluation mode."""
        translator = cls(config)
        translator._networks = dict(networks)
        translator._weights_sha256 = ""
        return translator

    @property
    def identity(self) -> Identity:
        """As of every translator, with the hash of the weights for the options that they were trained with.

        Raises as ``read_card`` does when there are none.
        """
        if self._weights_sha256 is None:
            self._weights_sha256 = self._require_card().weights_sha256
        used = changed_fields(self.config, without=self.config.training_fields())
        fields = {**used, "weights_sha256": self._weights_sha256}
        return Identity(self.name, self.version, fields)

    @property
    def batch_size(self) -> int:
        """Frames that one call of ``translate_batch`` should get."""
        return self.config.batch_size or (8 if self._on_gpu else 1)

    @property
    def gpu_use(self) -> GpuUse:
        """As ``device`` says."""
        uses: dict[str, GpuUse] = {"cpu": "never", "auto": "if_present", "cuda": "required"}
        return uses[self.config.device]

    def local_gpus(self) -> int:
        """Return how many GPUs of this machine it can use; InputError when it requires one and there is none."""
        return torch.cuda.device_count() if choose_device(self.config.device).type == "cuda" else 0

    def load(self) -> None:
        """Read the weights; raises as ``load_networks`` and ``choose_device`` do."""
        self.loaded()

    def working_bytes(self, height: int, width: int) -> int:
        """Return a bound on the memory of torch and of the networks at work.

        On a CPU one frame is in the networks, whatever the batch: ``WIDEST_IMAGES`` images of the first layer's
        channels. On a GPU they lie on the GPU, and here are the CUDA libraries and the images of a batch.
        """
        noise = sum(
            int(getattr(self.config, name, 0)) for name in ("noise_channels", "anchored_channels", "draws_holes")
        )
        seen = int(self.needs_depth) + 3 * len(self.wanted) + noise
        channels = seen + sum(math.prod(spec.trailing) for spec in self.produces)
        batch = self.batch_size * channels * height * width * 4
        if self._on_gpu:
            return TORCH_BYTES + CUDA_BYTES + 2 * batch
        first_layer = int(getattr(self.config, "width", 32)) * height * width * 4
        return TORCH_BYTES + WIDEST_IMAGES * first_layer + 2 * batch

    def files(self) -> dict[str, bytes]:
        """Return weights and card, after a look that the networks can be loaded from them."""
        self._require_card()
        load_networks(self.folder, self.make_networks(self.config))
        return {name: (self.folder / name).read_bytes() for name in (CARD_FILE, WEIGHTS_FILE)}

    def relocated(self, folder: Path) -> LearnedConfig:
        """Return the configuration with the weights in ``folder``."""
        return self.config.model_copy(update={"weights": folder})

    def translate(self, frame: Frame, words: tuple[int, int]) -> Capture:
        """Return what it makes of ``frame``; FrameError as of ``translate_batch``."""
        return self.translate_batch([frame], [words])[0]

    @property
    def _on_gpu(self) -> bool:
        return self.config.device == "cuda" or (self.config.device == "auto" and torch.cuda.is_available())

    def loaded(self) -> dict[str, nn.Module]:
        """Return the networks on their device, in evaluation mode; raises as ``load``."""
        if self._networks is None:
            device = choose_device(self.config.device)
            networks = self.make_networks(self.config)
            self._require_card()
            load_networks(self.folder, networks)
            self._networks = {name: self.prepared(network.to(device).eval()) for name, network in networks.items()}
            if device.type == "cuda":
                self._quicken(self._networks.values())
        return self._networks

    def _quicken(self, networks: Iterable[nn.Module]) -> None:
        """Have prepared networks, in place, compute on a GPU as it likes best: channels innermost, compiled."""
        for network in networks:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if self.config.compile:
                compile_network(network)

    def prepared(self, network: nn.Module) -> nn.Module:
        """Return what computes the same as ``network`` in evaluation mode, faster where that is known."""
        return network

    @property
    def folder(self) -> Path:
        """A folder of this machine with weights and card: that of the configuration, or one of copies."""
        if self.config.weights is None:
            raise MissingDataError(
                f"the translator {self.name} has no weights",
                where="translator.weights",
                expected="a folder of trained weights, or a `training` block that says how to get them",
                remedy="depthforge train MANIFEST, or depthforge translator import CHECKPOINT",
            )
        if isinstance(self.config.weights, Path):
            return self.config.weights
        if self._copy is None:
            self._copy = open_storage(self.config.weights).local_copy("")
        return self._copy

    def _require_card(self) -> TranslatorCard:
        card = read_card(self.folder)
        defaults = type(self.config).model_construct().architecture
        try:
            card.require_fits(self.name, self.config.architecture, self.config.scale, defaults)
        except InputError as error:
            error.where = str(self.config.weights)
            raise
        return card


@contextmanager
def failures_of_the_worker() -> Iterator[None]:
    """Tell what befalls the worker from what is wrong with a frame, which torch raises as the same class."""
    try:
        yield
    except torch.AcceleratorError as error:  # nothing works on this device until the process is replaced
        raise SystemError(f"the GPU failed: {error}") from None
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError(f"translator.batch_size is too large for this device: {error}") from None
        raise


def device_of(networks: Mapping[str, nn.Module]) -> torch.device:
    """Return where networks lie; fused ones hold buffers and no parameters."""
    return next(tensor.device for n in networks.values() for tensor in chain(n.parameters(), n.buffers()))


def choose_device(name: str) -> torch.device:
    """Return the device called ``auto``, ``cpu`` or ``cuda``; InputError for CUDA where there is no GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "a GPU is asked for and there is none",
            where="device: cuda",
            expected="a CUDA device that torch can use",
            found=f"torch {torch.__version__}, {torch.cuda.device_count()} devices",
            remedy="device: cpu, or auto; else install a CUDA build of torch (README)",
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
