"""The generator at inference, one 640x480 depth image at a time: plain PyTorch, our module, and the fused one.

python -m benchmarks.bench_inference [--repeats 7] [--threads 2] [--json] [--save]

All have the same weights, random ones that spread the output over its range; a trained network is smoother and rounds
less. Bar: the fused one takes at most half of the time of plain eager PyTorch, and gives the same depth to 1e-5 of the
range. bfloat16 is an option, here with what it costs in accuracy. Multiplications per second stand beside those of a
1x1 convolution of the size of a residual block, which is a matrix product, and of torch's own matrix product.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain_dcl import PlainGenerator, copy_weights
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table
from depthforge.networks.fused import fuse
from depthforge.networks.generator import DepthGenerator

HEIGHT, WIDTH = 480, 640
FLOP = 2 * 51.9e9
BAR = 2.0
BAR_ERROR = 1e-5
PLAIN = "plain PyTorch"
RANGE_M = 10.0


def spread_generator() -> DepthGenerator:
    """Return a generator of random weights, in evaluation mode, whose output fills its range."""
    generator = DepthGenerator()
    random = torch.Generator().manual_seed(0)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=random)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.2, generator=random)
            nn.init.normal_(module.bias, 0.0, 0.2, generator=random)
            module.momentum = 1.0
    nn.init.normal_(generator.out.weight, 0.0, 0.02, generator=random)
    with torch.no_grad():
        generator.train()(torch.rand(4, 1, 128, 128, generator=random))
    return generator.eval()


def ceilings(device: torch.device, repeats: int) -> dict[str, float]:
    """Return GFLOP/s of matrix products."""
    pixels = torch.rand(1, 512, 120, 160, device=device).contiguous(memory_format=torch.channels_last)
    mixing = torch.rand(512, 512, 1, 1, device=device)
    a, b = torch.rand(2, 2048, 2048, device=device)
    products = {
        "1x1 convolution": (lambda: torch.conv2d(pixels, mixing), 2 * 512 * 512 * 120 * 160),
        "matrix product": (lambda: a @ b, 2 * 2048**3),
    }
    seconds = in_turn({name: waiting(product, device) for name, (product, _) in products.items()}, repeats=repeats)
    return {name: flop / median(seconds[name]) / 1e9 for name, (_, flop) in products.items()}


def waiting(call: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """Return ``call`` that does not return before the device is done."""

    def run() -> Tensor:
        out = call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return out

    return run


@torch.inference_mode()
def measure(device: torch.device, repeats: int) -> dict[str, object]:
    """Time every contestant in turn on ``device`` and compare what they return."""
    generator = spread_generator()
    plain = PlainGenerator().eval()
    copy_weights(generator, plain)
    generator, plain = generator.to(device), plain.to(device)
    start = time.perf_counter()
    fused = fuse(generator)
    start_up_s = time.perf_counter() - start
    networks = {
        PLAIN: plain,
        "our module": generator,
        "fused": fused,
        "fused, bfloat16": fuse(generator, dtype=torch.bfloat16),
    }
    x = torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)).to(device)
    start = time.perf_counter()
    waiting(lambda: fused(x), device)()
    first_s = time.perf_counter() - start
    seconds = in_turn(
        {name: waiting(lambda network=network: network(x), device) for name, network in networks.items()},  # type: ignore[misc]
        repeats=repeats,
    )
    expected = plain(x)
    rows = {}
    for name, network in networks.items():
        second = median(seconds[name])
        error = (network(x) - expected).abs()
        rows[name] = {
            "fps": 1 / second,
            "times_plain": median(seconds[PLAIN]) / second,
            "gflop_per_s": FLOP / second / 1e9,
            "largest_error": error.max().item(),
            "mean_error": error.mean().item(),
        }
    return {
        "contestants": rows,
        "fuse_s": start_up_s,
        "first_image_s": first_s,
        "ceilings_gflop_per_s": ceilings(device, repeats),
    }


def figures(rows: Mapping[str, Mapping[str, float]], data: str) -> list[Figure]:
    """Return what the page shows of one device."""
    plain = rows[PLAIN]["fps"]
    rates = [
        Figure(
            name=f"DCL's generator, {name}",
            value=rows[name]["fps"],
            unit="frames/s",
            better="higher",
            peer=PLAIN,
            peer_value=plain,
            bar=BAR if name == "fused" else None,
            bar_of="ratio",
            data=data,
        )
        for name in ("fused", "fused, bfloat16")
    ]
    error = Figure(
        name="largest error, fused",
        value=rows["fused"]["largest_error"],
        unit="of the range",
        better="lower",
        peer=PLAIN,
        bar=BAR_ERROR,
        data=data,
    )
    return [*rates, error]


def main() -> None:
    """Measure the CPU, and the GPU where there is one, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    add_result_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # The same arithmetic for everybody, or 1e-5 means nothing on a GPU.
    torch.backends.cudnn.allow_tf32 = False
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    found = {device.type: measure(device, options.repeats) for device in devices}
    if options.save:
        for device, result in found.items():
            rows: Any = result["contestants"]
            place = f"{options.threads} threads" if device == "cpu" else torch.cuda.get_device_name()
            data = f"{WIDTH}x{HEIGHT}, batch 1, random weights, {place}"
            measured = {"threads": options.threads, **result}
            save_run("bench_inference", measured, figures(rows, data), part=device, note=options.note)
    if options.json:
        print_json({"threads": options.threads, "bar": BAR, **found})
        return
    print(f"{machine()}; {options.threads} threads, {WIDTH}x{HEIGHT}, batch 1, {options.repeats} repeats in turn")
    for device, result in found.items():
        rows = [
            [
                name,
                f"{row['fps']:.2f}",
                f"{row['times_plain']:.2f}",
                f"{row['gflop_per_s']:.0f}",
                *(
                    f"{row[error]:.1e} ({1e3 * RANGE_M * row[error]:.2f} mm)"
                    for error in ("largest_error", "mean_error")
                ),
            ]
            for name, row in result["contestants"].items()  # type: ignore[attr-defined]
        ]
        header = ["", "fps", "times plain", "GFLOP/s", "largest error (mm of 10 m)", "mean error"]
        print_table(f"DCL's generator on {device}; bar {BAR} for fused", rows, header)
        peaks = result["ceilings_gflop_per_s"].items()  # type: ignore[attr-defined]
        print("\n  GFLOP/s of " + ", ".join(f"a {name} {peak:.0f}" for name, peak in peaks))
        print(f"  fusing takes {result['fuse_s']:.3f} s, and the first image {result['first_image_s']:.2f} s")


if __name__ == "__main__":
    main()
