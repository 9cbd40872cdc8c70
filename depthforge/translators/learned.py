"""What every learned translator shares: trained weights, metres to the network's range and back, batches of frames.

Two departures from the published code, both on by default. **Normalisation**: it divides each depth image by its own
maximum, so one metre means something else in every image and the scale is lost on the way; here one maximum in metres,
kept in the translator's card, holds for all (``per_image`` is there for parity). **Validity**: it has no notion of it;
here holes of the input, and depth beyond the maximum, enter as 0 and stay holes, and an output at or below
``hole_threshold`` is a hole, not a small depth.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from depthforge.errors import FrameError, InputError, MissingDataError
from depthforge.frame import Frame, NoisyDepth
from depthforge.identity import Identity, changed_fields
from depthforge.networks.fused import fuse
from depthforge.networks.generator import DepthGenerator, apply_padded
from depthforge.seeding import generator_of
from depthforge.training.objective import Objective
from depthforge.training.translator_card import CARD_FILE, WEIGHTS_FILE, Normalisation, TranslatorCard, read_card
from depthforge.training.weights import load_networks
from depthforge.translators.adversarial import ObjectiveConfig
from depthforge.translators.base import GpuUse, Translator, TranslatorConfig, require_kept

__all__ = ["Learned", "LearnedConfig", "Output", "choose_device", "image_of"]

ARCHITECTURE = ("width", "with_rgb", "noise_channels", "residual", "validity")

# Resident memory of a worker, rounded up from measurements (benchmarks/bench_memory --translator dcl): torch itself,
# and activations at their peak, counted in images of the first layer's channels. CUDA's libraries are an assumption.
TORCH_BYTES, WIDEST_IMAGES, CUDA_BYTES = 200 * 2**20, 13, 3 * 2**30


class Output(NamedTuple):
    """What networks make of a frame: depth (H, W) float32 as a share of the range, and how many metres 1 is."""

    share: npt.NDArray[np.float32]
    scale_m: float


class LearnedConfig(TranslatorConfig):
    """How trained weights are used. A method adds the options that it is trained with."""

    # Where things lie and run here; they change no byte.
    local_fields: ClassVar[frozenset[str]] = frozenset({"weights", "device", "batch_size"})
    # What may change after training.
    inference_fields: ClassVar[frozenset[str]] = local_fields | {"hole_threshold", "min_kept", "precision"}

    weights: Path | None = Field(
        default=None, description="folder of a trained translator; default: where `training` puts it"
    )
    normalisation: Literal["fixed", "per_image"] = Field(
        default="fixed", description="what depth is divided by: max_depth_m, or the maximum of each image as published"
    )
    max_depth_m: float = Field(default=10.0, gt=0, description="fixed: the depth that becomes 1; farther is a hole")
    hole_threshold: float = Field(
        default=1 / 255, ge=0, lt=1, description="an output at or below this share of the range is a hole"
    )
    min_kept: float = Field(
        default=0.05, ge=0, le=1, description="refuse a frame of whose valid pixels a smaller share is still valid"
    )
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="arithmetic of the conversion")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is a GPU")
    batch_size: int | None = Field(default=None, ge=1, description="frames at once; default: 1 on a CPU, 8 on CUDA")

    @property
    def scale(self) -> Normalisation:
        """The normalisation as the card keeps it."""
        return Normalisation(
            mode=self.normalisation, max_depth_m=self.max_depth_m if self.normalisation == "fixed" else None
        )

    @property
    def architecture(self) -> dict[str, Any]:
        """What the networks are built from."""
        return {name: getattr(self, name) for name in ARCHITECTURE if name in type(self).model_fields}

    @classmethod
    def training_fields(cls) -> frozenset[str]:
        """Names of the options that only training reads: what they did is in the weights."""
        methods = [c for c in cls.__mro__ if issubclass(c, ObjectiveConfig) and not issubclass(c, LearnedConfig)]
        return frozenset(name for method in methods for name in method.model_fields) - set(ARCHITECTURE)

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

    def __init__(self, config: LearnedConfig) -> None:
        super().__init__(config)
        self._networks: dict[str, nn.Module] | None = None
        self._weights_sha256: str | None = None

    @classmethod
    @abstractmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> Objective:
        """Return the networks and optimisers to train, initialised from ``random``."""

    @classmethod
    def make_networks(cls, config: LearnedConfig) -> dict[str, nn.Module]:
        """Return the networks that conversion needs, untrained."""
        return {"generator": DepthGenerator(**config.architecture)}

    @classmethod
    def of_networks(cls, config: LearnedConfig, networks: Mapping[str, nn.Module]) -> Self:
        """Return a translator that uses ``networks`` as they are, on their device, in evaluation mode."""
        translator = cls(config)
        translator._networks = dict(networks)
        translator._weights_sha256 = ""
        return translator

    @property
    def wanted(self) -> frozenset[str]:
        """Colour, where the networks take it."""
        return frozenset({"rgb"}) if getattr(self.config, "with_rgb", False) else frozenset()

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
        self._loaded()

    def working_bytes(self, height: int, width: int) -> int:
        """Return a bound on the memory of torch and of the networks at work.

        On a CPU one frame is in the networks, whatever the batch: ``WIDEST_IMAGES`` images of the first layer's
        channels. On a GPU they lie on the GPU, and here are the CUDA libraries and the images of a batch.
        """
        channels = 2 + len(self.wanted) * 3 + int(getattr(self.config, "noise_channels", 0))
        batch = self.batch_size * channels * height * width * 4
        if self._on_gpu:
            return TORCH_BYTES + CUDA_BYTES + 2 * batch
        first_layer = int(getattr(self.config, "width", 32)) * height * width * 4
        return TORCH_BYTES + WIDEST_IMAGES * first_layer + 2 * batch

    def files(self) -> dict[str, bytes]:
        """Return weights and card, after a look that the networks can be loaded from them."""
        self._require_card()
        load_networks(self._folder, self.make_networks(self.config))
        return {name: (self._folder / name).read_bytes() for name in (CARD_FILE, WEIGHTS_FILE)}

    def relocated(self, folder: Path) -> LearnedConfig:
        """Return the configuration with the weights in ``folder``."""
        return self.config.model_copy(update={"weights": folder})

    def translate(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return the noisy depth of ``frame``; FrameError as of ``translate_batch``."""
        return self.translate_batch([frame], [words])[0]

    def translate_batch(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[NoisyDepth]:
        """Return the noisy depth of each of ``frames``, which are of one size.

        Raise FrameError as ``outputs`` and ``measured`` do.
        """
        outputs = self.outputs(frames, words)
        return [self.measured(frame, output) for frame, output in zip(frames, outputs, strict=True)]

    def outputs(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Output]:
        """Return what the networks make of each of ``frames``, which are of one size, before holes are told apart.

        Raise FrameError for a frame without the colour that the networks take.
        """
        config = self.config
        images = [image_of(frame, config, with_rgb="rgb" in self.wanted) for frame in frames]
        scales_m = [scale for _, scale in images]
        channels = getattr(config, "noise_channels", 0)
        planes = [_with_noise(image, channels, word) for (image, _), word in zip(images, words, strict=True)]
        networks = self._loaded()
        device = _device_of(networks)
        lower = torch.bfloat16 if config.precision == "bfloat16" else None
        with (
            _failures_of_the_worker(),
            torch.inference_mode(),
            torch.autocast(device.type, dtype=lower, enabled=lower is not None),
        ):
            outputs = np.concatenate(
                [
                    self.infer(networks, torch.from_numpy(inputs).to(device))[:, 0].float().cpu().numpy()
                    for inputs in self._passes(planes, device)
                ]
            )[: len(frames)]
        return [Output(share, scale_m) for share, scale_m in zip(outputs, scales_m, strict=True)]

    def infer(self, networks: Mapping[str, nn.Module], inputs: Tensor) -> Tensor:
        """Return the depth (B, 1, H, W), as a share of the range, of ``inputs`` (B, C, H, W): depth, noise, colour."""
        return apply_padded(networks["generator"], inputs)

    def _passes(self, planes: list[npt.NDArray[np.float32]], device: torch.device) -> Iterator[npt.NDArray[np.float32]]:
        """Yield what goes through the networks at once, so that a frame's depth does not depend on its company.

        On a CPU each frame alone, which is also the fastest: a batch of four 640x480 took 1.9 times as long as four
        frames. On a GPU a whole batch, the last one filled up, because another batch size can mean other kernels.
        """
        if device.type == "cpu":
            yield from (plane[None] for plane in planes)
        else:
            yield np.stack([*planes, *planes[-1:] * (self.batch_size - len(planes))])

    def measured(self, frame: Frame, output: Output) -> NoisyDepth:
        """Return an output in metres, with what is no measurement as such.

        Raise FrameError for an output that is not a number, and when less than ``min_kept`` of the frame's valid
        pixels is left.
        """
        share, scale_m = output
        if not np.isfinite(share).all():
            raise FrameError("the translator gave depth that is not a number", where=frame.key)
        valid = frame.valid & (share > self.config.hole_threshold)
        depth_m = np.where(valid, share * np.float32(scale_m), np.float32(0))
        require_kept(
            frame,
            valid,
            self.config.min_kept,
            what="the translator leaves",
            remedy="train longer (its curves say whether), check that depth is in metres, or lower min_kept",
        )
        return NoisyDepth(depth_m, valid)

    @property
    def _on_gpu(self) -> bool:
        return self.config.device == "cuda" or (self.config.device == "auto" and torch.cuda.is_available())

    def _loaded(self) -> dict[str, nn.Module]:
        if self._networks is None:
            device = choose_device(self.config.device)
            networks = self.make_networks(self.config)
            self._require_card()
            load_networks(self._folder, networks)
            self._networks = {name: self.prepared(network.to(device).eval()) for name, network in networks.items()}
        return self._networks

    def prepared(self, network: nn.Module) -> nn.Module:
        """Return what computes the same as ``network`` in evaluation mode, faster where that is known."""
        if not isinstance(network, DepthGenerator):
            return network
        return fuse(network, dtype=torch.bfloat16 if self.config.precision == "bfloat16" else torch.float32)

    @property
    def _folder(self) -> Path:
        if self.config.weights is None:
            raise MissingDataError(
                f"the translator {self.name} has no weights",
                where="translator.weights",
                expected="a folder of trained weights, or a `training` block that says how to get them",
                remedy="depthforge train MANIFEST, or depthforge translator import CHECKPOINT",
            )
        return self.config.weights

    def _require_card(self) -> TranslatorCard:
        card = read_card(self._folder)
        defaults = type(self.config).model_construct().architecture
        try:
            card.require_fits(self.name, self.config.architecture, self.config.scale, defaults)
        except InputError as error:
            error.where = str(self._folder)
            raise
        return card


@contextmanager
def _failures_of_the_worker() -> Iterator[None]:
    """Tell what befalls the worker from what is wrong with a frame, which torch raises as the same class."""
    try:
        yield
    except torch.AcceleratorError as error:  # nothing works on this device until the process is replaced
        raise SystemError(f"the GPU failed: {error}") from None
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError(f"translator.batch_size is too large for this device: {error}") from None
        raise


def _device_of(networks: Mapping[str, nn.Module]) -> torch.device:
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


def image_of(frame: Frame, config: LearnedConfig, *, with_rgb: bool) -> tuple[npt.NDArray[np.float32], float]:
    """Return the network's view of a frame, (C, H, W) float32 in [0, 1] with 0 for holes, and metres for 1.

    C is 1, or 4 with colour in the order blue, green, red, as the published weights were trained.
    """
    valid = frame.valid
    if config.normalisation == "fixed":
        scale_m = config.max_depth_m
        valid = valid & (frame.depth_m <= scale_m)
    else:
        scale_m = float(frame.depth_m.max(where=valid, initial=0.0)) or 1.0
    depth = np.where(valid, frame.depth_m / np.float32(scale_m), np.float32(0))[None]
    if not with_rgb:
        return depth, scale_m
    if frame.rgb is None:
        raise FrameError("the frame has no colour, and the translator takes it", where=frame.key)
    bgr = np.ascontiguousarray(frame.rgb[..., ::-1].transpose(2, 0, 1), dtype=np.float32) / np.float32(255)
    return np.concatenate([depth, bgr]), scale_m


def _with_noise(image: npt.NDArray[np.float32], channels: int, words: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Insert the frame's own noise behind depth, as ``_adversarial.with_noise`` does in training."""
    if not channels:
        return image
    noise = generator_of(words).standard_normal((channels, *image.shape[1:]), np.float32)
    return np.concatenate([image[:1], noise, image[1:]])
