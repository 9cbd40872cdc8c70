"""Inject every fault again and again and print what became of it.

    python -m tests.chaos.table --rounds 10 --seed 0 [--fault NAME ...] [--json FILE]

A round is 10 to 40 s. Ends with 1 where anything that must hold did not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.chaos.faults import FAULTS, Bench, CannotInjectError, Trial, attempt

__all__ = ["lines", "main"]


def lines(trials: list[Trial]) -> list[str]:
    """Return the table as Markdown, a fault a row."""
    rows = [
        "| fault | times injected | lost frames | duplicate frames | hangs | ended with | anything else wrong |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for fault in dict.fromkeys(trial.fault for trial in trials):
        of_fault = [trial for trial in trials if trial.fault == fault]
        codes = Counter(code for trial in of_fault for code in trial.codes)
        ended = ", ".join(f"{code} ({count})" for code, count in sorted(codes.items()))
        lost = sum(trial.lost_frames for trial in of_fault)
        twice = sum(trial.duplicate_frames for trial in of_fault)
        hangs = sum(trial.hung for trial in of_fault)
        wrong = sum(bool(trial.wrong) and not trial.hung for trial in of_fault)
        injected = sum(trial.injected for trial in of_fault)
        rows.append(f"| {fault} | {injected} | {lost} | {twice} | {hangs} | {ended} | {wrong} |")
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run the trials and print the table; what went wrong goes to standard error as it does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", action="append", choices=list(FAULTS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    trials: list[Trial] = []
    root = Path(tempfile.mkdtemp(prefix="df-chaos-"))
    try:
        bench = Bench.make(root)
        for fault in options.fault or FAULTS:
            for number in range(options.rounds):
                folder = root / "trial"
                folder.mkdir()
                start = time.monotonic()
                try:
                    trial = attempt(bench, fault, folder, options.seed + number)
                except CannotInjectError as error:
                    print(f"{fault}: not injected here: {error}", file=sys.stderr)
                    break
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                trials.append(trial)
                said = f"{fault} {number}: {trial.codes} {time.monotonic() - start:.0f} s {trial.wrong or ''}"
                print(said, file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(trial) for trial in trials], indent=1))
    print("\n".join(lines(trials)))
    return int(any(trial.wrong for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
