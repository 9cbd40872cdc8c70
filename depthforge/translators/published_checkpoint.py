"""Reading a generator that DCL's or CUT's published code saved (``<epoch>_net_G.pth``).

Such a file is a pickle, and a pickle can run any code when it is opened. Only torch's restricted reader opens it,
which knows tensors and containers and refuses everything else; there is no switch to trust a file.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from depthforge.errors import InputError, MissingDataError
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.published import load_published

__all__ = ["read_published_generator", "read_state"]


def read_published_generator(path: Path) -> DepthGenerator:
    """Return the generator of a published checkpoint on the CPU, in evaluation mode, with colour if it has.

    The weights must be those of DCL's published configuration (32 channels, 5 residual blocks, batch norm, blurred
    sampling); anything else is an InputError that says what differs. Errors of ``read_state``.
    """
    state = read_state(path)
    generator = DepthGenerator(with_rgb=any(name.startswith("rgb_encoder.") for name in state))
    try:
        load_published(generator, state)
    except InputError as error:
        raise InputError(
            f"not a generator of DCL's published configuration: {error.message}",
            where=f"{path}" if error.where is None else f"{path}: {error.where}",
            expected=error.expected,
            found=error.found,
        ) from None
    return generator.eval()


def read_state(path: Path) -> dict[str, Tensor]:
    """Return name -> tensor of a state dict saved by torch, on the CPU, running nothing that the file holds.

    No file there is a MissingDataError; one that is truncated, holds objects other than tensors, or is no state dict
    is an InputError.
    """
    if not path.is_file():
        raise MissingDataError("no checkpoint there", where=path, expected="a file saved by torch.save")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever it makes the reader stumble over
        raise InputError(
            "the checkpoint cannot be read as tensors alone",
            where=path,
            expected="a whole state dict saved by torch.save(network.state_dict(), path)",
            found=_reason(error),
            remedy="where the file holds the network as an object, save its state_dict() in the code that made it",
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            "the checkpoint is no state dict",
            where=path,
            expected="names and tensors",
            found=_contents(state),
        )
    return dict(state)


def _reason(error: Exception) -> str:
    # The restricted reader wraps its reason in advice to trust the file and a link to the manual.
    paragraphs = [text.strip() for text in str(error).split("\n\n") if text.strip()]
    wrapped = isinstance(error, pickle.UnpicklingError) and len(paragraphs) >= 3
    reason = paragraphs[-2] if wrapped else str(error).partition("\n")[0]
    return f"{type(error).__name__}: {reason}"


def _contents(loaded: object) -> str:
    if isinstance(loaded, dict):
        return "a dict of " + ", ".join(sorted({type(value).__name__ for value in loaded.values()}))
    return f"a {type(loaded).__name__}"
