"""The plots of `bench.full`, in the environment that has matplotlib: RESULTS.json OUT."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

RECOMPUTED = ("duckdb", "polars", "spark")


def main(results: Path, out: Path) -> None:
    """Draw both plots."""
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    # The same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "headrace", "svg.fonttype": "none", "font.size": 10})
    draw(out / "rate.svg", rates(found), "events of history", "events a second")
    draw(out / "fresh.svg", fresh(found), "events of history", "seconds for 2,000 more events")


Lines = dict[str, tuple[list[int], list[list[float]]]]


def rates(found: dict[str, Any]) -> Lines:
    """Events a second of each peer, by the number of events."""
    return {
        peer: (
            [found["events"][size] for size in sizes],
            [
                [found["events"][size] / run["seconds"] for run in runs]
                for size, runs in sizes.items()
            ],
        )
        for peer, sizes in found["runs"].items()
        if sizes
    }


def fresh(found: dict[str, Any]) -> Lines:
    """Seconds until 2,000 more events are in: all again, or a commit."""
    lines: Lines = {
        f"{peer}, all again": (
            [found["events"][size] for size in sizes],
            [[run["seconds"] for run in runs] for runs in sizes.values()],
        )
        for peer, sizes in found["runs"].items()
        if sizes and peer in RECOMPUTED
    }
    commit = {found["events"][size]: seconds for size, seconds in found["commit"].items()}
    if commit:
        lines["headrace, a commit"] = (list(commit), [[seconds] for seconds in commit.values()])
    return lines


def draw(file: Path, lines: Lines, x: str, y: str) -> None:
    """Medians as lines, smallest and largest as bars; both axes are logarithmic."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, (sizes, values) in lines.items():
        middle = [statistics.median(each) for each in values]
        low = [m - min(each) for m, each in zip(middle, values, strict=True)]
        high = [max(each) - m for m, each in zip(middle, values, strict=True)]
        bold = 2.4 if name.startswith("headrace") else 1.2
        axes.errorbar(sizes, middle, [low, high], marker="o", capsize=3, label=name, linewidth=bold)
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
