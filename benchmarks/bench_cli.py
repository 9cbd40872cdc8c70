"""How long `depthforge --help` and `import depthforge` take, beside a bare interpreter. Bar: 0.3 s.

python -m benchmarks.bench_cli [--repeats 9] [--json]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable

from benchmarks.timing import in_turn, machine, median, print_json, print_table


def main() -> None:
    """Time whole processes in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    def process(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True)

    seconds = in_turn(
        {
            "python -c pass": process("-c", "pass"),
            "import depthforge": process("-c", "import depthforge"),
            "depthforge --help": process("-m", "depthforge", "--help"),
            "depthforge list": process("-m", "depthforge", "list"),
        },
        repeats=options.repeats,
    )
    if options.json:
        print_json({name: median(values) for name, values in seconds.items()})
        return
    print(machine())
    rows = [[name, f"{median(values):.3f}", f"{max(values):.3f}"] for name, values in seconds.items()]
    print_table("Start-up of a process (bar for --help: 0.3 s)", rows, ["command", "median s", "worst s"])


if __name__ == "__main__":
    main()
