"""Borders around images with channels innermost, which torch's own padding would move outwards and back.

On CUDA ``functional.pad`` in reflecting mode returns channels outermost whatever it is given, so around every
convolution the whole image is copied twice more between two layouts: 40 % of a training step. Here the new image is
made in the layout of the old one, its interior written in one pass, which may be the pass that the activation takes
anyway, and the border copied from it in thin strips. Nothing is summed by colliding threads on the way back, so
gradients repeat. On a CPU, and within ``torch.compile``, which fuses it with what is around it, torch's own padding
does.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Mode", "bordered", "reflected", "spread"]

Mode = Literal["reflect", "replicate"]


def reflected(x: Tensor, radius: int) -> Tensor:
    """Return ``x`` (B, C, H, W) with ``radius`` reflected pixels around it; differentiable as often as asked."""
    if radius == 0:
        return x
    if x.device.type == "cpu" or torch.compiler.is_compiling():
        return functional.pad(x, (radius,) * 4, mode="reflect")
    out: Tensor = _Reflect.apply(x, radius)  # type: ignore[no-untyped-call]
    return out


def spread(y: Tensor, side: int) -> Tensor:
    """Return the image whose blocks of ``side`` x ``side`` pixels are the channels of ``y``, as a view.

    (B, side * side * C, h, w), channels in the order row, column, C, to (B, C, h, side, w, side).
    """
    return torch.unflatten(y, 1, (side, side, -1)).permute(0, 3, 4, 1, 5, 2)


def bordered(
    x: Tensor,
    radius: int,
    mode: Mode = "reflect",
    *,
    rectified: bool = False,
    plus: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return ``x`` (B, C, H, W), or what ``spread`` returns, as (B, C, H + 2 radius, W + 2 radius) of ``dtype``.

    On the way, in the same pass, what is below 0 becomes 0 where ``rectified``, or ``plus``, of the shape of ``x``, is
    added. Without gradient.
    """
    batch, channels = x.shape[:2]
    height, width = (x.shape[2], x.shape[3]) if x.ndim == 4 else (x.shape[2] * x.shape[3], x.shape[4] * x.shape[5])
    dtype = dtype or x.dtype
    if torch.compiler.is_compiling():
        y = _passed(x, rectified, plus).reshape(batch, channels, height, width).to(dtype)
        return functional.pad(y, (radius,) * 4, mode=mode) if radius else y
    layout = torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
    shape = (batch, channels, height + 2 * radius, width + 2 * radius)
    out = torch.empty(shape, dtype=dtype, device=x.device, memory_format=layout)
    inner = out[:, :, radius : radius + height, radius : radius + width]
    if x.ndim == 6:
        inner = torch.unflatten(torch.unflatten(inner, 3, x.shape[4:]), 2, x.shape[2:4])
    _passed(x, rectified, plus, out=inner)
    if radius:
        _fill(out.transpose(2, 3)[:, :, :, radius:-radius], radius, mode)
        _fill(out, radius, mode)
    return out


def _passed(x: Tensor, rectified: bool, plus: Tensor | None, *, out: Tensor | None = None) -> Tensor:
    if rectified:
        return torch.maximum(x, x.new_zeros(()), out=out)
    if plus is not None:
        return torch.add(x, plus, out=out)
    return x if out is None else out.copy_(x)


def _fill(out: Tensor, radius: int, mode: Mode) -> None:
    """Write the first and last ``radius`` rows of ``out`` from those beside them."""
    if mode == "replicate":
        out[:, :, :radius] = out[:, :, radius : radius + 1]
        out[:, :, -radius:] = out[:, :, -radius - 1 : -radius]
    else:
        out[:, :, :radius] = _flipped(out[:, :, radius + 1 : 2 * radius + 1])
        out[:, :, -radius:] = _flipped(out[:, :, -2 * radius - 1 : -radius - 1])


def _flipped(rows: Tensor) -> Tensor:
    return rows if rows.shape[2] == 1 else rows.flip(2)


def _folded(padded: Tensor, radius: int) -> Tensor:
    """Return (B, C, H, W) of (B, C, H + 2 radius, W), each border row added to the row that it was copied from."""
    layout = torch.channels_last if padded.stride(1) == 1 else torch.contiguous_format
    rows = padded[:, :, radius:-radius].clone(memory_format=layout)
    rows[:, :, 1 : radius + 1] += _flipped(padded[:, :, :radius])
    rows[:, :, -radius - 1 : -1] += _flipped(padded[:, :, -radius:])
    return rows


class _Reflect(torch.autograd.Function):
    """A reflected border; linear, with ``_Fold`` as its adjoint and the adjoint of that."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, radius: int) -> Tensor:
        ctx.radius = radius
        return bordered(x, radius)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Fold.apply(gradients[0], ctx.radius), None  # type: ignore[no-untyped-call]


class _Fold(torch.autograd.Function):
    """Each pixel of the border added to the pixel that it shows."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, radius: int) -> Tensor:
        ctx.radius = radius
        out = _folded(padded[..., radius:-radius], radius)
        for columns, place in (
            (padded[..., :radius], slice(1, radius + 1)),
            (padded[..., -radius:], slice(-radius - 1, -1)),
        ):
            out[..., place] += _folded(columns, radius).flip(3)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Reflect.apply(gradients[0], ctx.radius), None  # type: ignore[no-untyped-call]
