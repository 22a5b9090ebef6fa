"""
`./dev bench [NAMES]`: measure, print the table, write JSON, compare with a recorded run.

A name is a suite (`log`, `chain`, `large`) or one of its figures (`log.sealing`); without names
everything runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.chain import MODULES as CHAIN_MODULES
from benchmarks.ground import Ground, Scale, running_ground
from benchmarks.harness import Figure, Report, fallen_ratios, print_report
from benchmarks.identity import MODULES as IDENTITY_MODULES
from benchmarks.large import MODULES as LARGE_MODULES
from benchmarks.log import MODULES as LOG_MODULES
from benchmarks.machine import describe_machine

SUITES: Final = {
    "log": LOG_MODULES,
    "identity": IDENTITY_MODULES,
    "chain": CHAIN_MODULES,
    "large": LARGE_MODULES,
}
WIDTH: Final = 200
"""The table's width where the output is no terminal."""


def main(arguments: Sequence[str]) -> int:
    """Run what *arguments* ask for; 1: a ratio fell or a figure failed, 2: usage."""
    options = parse(arguments)
    try:
        modules = chosen_modules(options.names)
    except KeyError as unknown:
        print(f"there is no benchmark {unknown.args[0]}; there are: {', '.join(known_names())}")
        return 2
    report = run(modules, Scale(is_quick=options.quick))
    print_report(report, console())
    measured = report.as_json()
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    fallen = (
        fallen_ratios(json.loads(options.compare.read_text()), measured) if options.compare else []
    )
    for sentence in fallen:
        print(f"fallen: {sentence}")
    return 1 if fallen or report.left_out else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; argparse ends the program where they are wrong."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="suites, or figures of them")
    parser.add_argument("--quick", action="store_true", help="small, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="a recorded report; exit 1 where a ratio fell by over 20 %%",
    )
    return parser.parse_args(arguments)


def chosen_modules(names: Sequence[str]) -> list[str]:
    """
    Return the modules that *names* mean, in the order of their suites.

    Raises:
        KeyError: A name means none.
    """
    everything = [f"{suite}.{module}" for suite, modules in SUITES.items() for module in modules]
    wanted = set()
    for name in names or SUITES:
        meant = [known for known in everything if known == name or known.startswith(f"{name}.")]
        if not meant:
            raise KeyError(name)
        wanted.update(meant)
    return [known for known in everything if known in wanted]


def known_names() -> list[str]:
    """Return every name that can be asked for."""
    return [*SUITES, *chosen_modules([])]


def run(modules: Sequence[str], scale: Scale) -> Report:
    """Measure the figures of *modules*, one after the other, on one server."""
    began = time.monotonic()
    figures: list[Figure] = []
    left_out: dict[str, str] = {}
    with running_ground(scale) as ground:
        for name in modules:
            say(f"{name} ...")
            module_began = time.monotonic()
            measured = measure_module(name, ground, left_out)
            say(f"{name}: {time.monotonic() - module_began:.0f} s")
            figures += measured
        with ground.administrator() as connection:
            machine = describe_machine(connection)
    return Report(machine, figures, time.monotonic() - began, scale.is_quick, left_out)


def measure_module(name: str, ground: Ground, left_out: dict[str, str]) -> list[Figure]:
    """Return the figures of one module; what fails is left out with its reason, and said."""
    try:
        module = importlib.import_module(f"benchmarks.{name}")
        return list(module.run(ground))
    except Exception as error:  # noqa: BLE001 (one figure's failure must not cost the others)
        left_out[name] = f"{type(error).__name__}: {error}"
        return []


def say(text: str) -> None:
    """Tell whoever waits, beside the table."""
    print(text, file=sys.stderr, flush=True)


def console() -> Console:
    """Return where the table goes, wide enough where nobody's terminal says how wide."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
