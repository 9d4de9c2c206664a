"""Many kills and many races, for every format and mode: ``python -m tests.torture`` (``make torture``).

Takes four hours or more on two cores; ``--mode`` and ``--verb`` choose a part. Prints one line for each mode and verb and ends with 1 when
one of them failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lakekit as lk
from lakekit.testing.plugin import QUICK
from tests.contract.faults import Tally, kills, new_derived, new_history, new_subject, races, rival
from tests.contract.harness import MODES, mode_named

MAKERS: dict[str, Callable[..., Any]] = {
    "upsert": new_subject, "scd2": new_history, "scd4": partial(new_derived, verb="scd4"), "scd6": partial(new_derived, verb="scd6"),
}  # fmt: skip


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    verbs = {verb: MAKERS[verb] for verb in options.verb or MAKERS}
    modes = [mode_named(id) for id in options.mode] or MODES
    folder = Path(tempfile.mkdtemp(prefix="lakekit-torture-"))
    spark = lk.session(warehouse=folder / "warehouse", app_name="lakekit-torture", conf=QUICK)
    failures = 0
    if options.rounds:
        with rival(spark, {mode.format for mode in modes}, folder) as writer:
            for mode in modes:
                for verb, new in verbs.items():
                    work = lambda new=new, mode=mode: [races(new(spark, mode, "raced"), writer, options.rounds, options.seed, folder)]  # noqa: E731
                    failures += _report(f"{mode.id} {verb} races", work)
    if options.kills:
        for verb, new in verbs.items():
            made = [new(spark, mode, "killed") for mode in modes]
            failures += _report(f"{verb} kills", lambda made=made: kills(spark, made, options.kills, options.seed, folder))  # type: ignore[misc]
    print(f"seed {options.seed}: {failures} failures" if failures else f"seed {options.seed}: all held", flush=True)
    spark.stop()
    return 1 if failures else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--mode", action="append", default=[], help=f"one of {', '.join(mode.id for mode in MODES)}; may be repeated")
    parser.add_argument("--verb", action="append", default=[], choices=list(MAKERS), help="one of the verbs; may be repeated")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    return parser.parse_args(arguments)


def _report(what: str, work: Callable[[], list[Tally]]) -> bool:
    """Run and print a line for each mode; tells whether it failed."""
    started = time.time()
    try:
        for tally in work():
            print(f"{tally} ({time.time() - started:.0f} s)", flush=True)
    except Exception:  # noqa: BLE001 - every failure is reported, and the next mode still has its turn
        print(f"{what}: FAILED after {time.time() - started:.0f} s\n{traceback.format_exc()}", flush=True)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
