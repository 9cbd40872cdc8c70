"""How long `depthforge --help` and `import depthforge` take, beside a bare interpreter. Bar: 0.3 s.

python -m benchmarks.bench_cli [--repeats 9] [--json] [--save]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table

BARE = "python -c pass"
BAR_S = 0.3


def figures(seconds: Mapping[str, float]) -> list[Figure]:
    """Return what the page shows of the medians."""
    return [
        Figure(
            name=name,
            value=seconds[name],
            unit="s",
            better="lower",
            peer=BARE,
            peer_value=seconds[BARE],
            bar=BAR_S if name == "depthforge --help" else None,
            data="a whole process, files in the page cache",
        )
        for name in seconds
        if name != BARE
    ]


def main() -> None:
    """Time whole processes in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    add_result_options(parser)
    options = parser.parse_args()

    def process(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True)

    seconds = in_turn(
        {
            BARE: process("-c", "pass"),
            "import depthforge": process("-c", "import depthforge"),
            "depthforge --help": process("-m", "depthforge", "--help"),
            "depthforge list": process("-m", "depthforge", "list"),
        },
        repeats=options.repeats,
    )
    medians = {name: median(values) for name, values in seconds.items()}
    if options.save:
        save_run("bench_cli", medians, figures(medians), note=options.note)
    if options.json:
        print_json(medians)
        return
    print(machine())
    rows = [[name, f"{median(values):.3f}", f"{max(values):.3f}"] for name, values in seconds.items()]
    print_table(f"Start-up of a process (bar for --help: {BAR_S} s)", rows, ["command", "median s", "worst s"])


if __name__ == "__main__":
    main()
