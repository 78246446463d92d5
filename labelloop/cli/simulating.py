"""The command `simulate`: learning curves of strategies on images whose classes are known.

Left out: image folders and their features (known.py), playing (replay.py), tables and the plot (comparing.py,
drawing.py).
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from labelloop import curves
from labelloop.board import read_board
from labelloop.cli.comparing import OTHER, summary, tables
from labelloop.cli.drawing import drawing
from labelloop.cli.known import Network, listed, material_of
from labelloop.cli.options import PATH, json_option
from labelloop.cli.plugins import load_all
from labelloop.cli.replay import Material, Played, material, play, refuse_again
from labelloop.cli.settings import Settings, in_json, set_option, settings_of
from labelloop.cli.terminal import Bar, print_json, say
from labelloop.errors import BadInput, BadStrategy, LabelloopError
from labelloop.formats.files import is_inside
from labelloop.project import Project
from labelloop.strategies import Strategy
from labelloop.strategies.check import load
from labelloop.strategies.registry import Offered, refuse_taken

RAW, PLOT = "curves.jsonl", "curves.svg"
PACKAGES = ("labelloop", "numpy", "scipy")  # that curves may depend on


def counts(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    """Label counts that grow, from '20,50,100'."""
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and 0 < int(part) < 10**9 for part in parts):
        raise click.BadParameter(f"{value!r}: wanted numbers of labels with commas between them, such as 20,50,100")
    return sorted({int(part) for part in parts})


@click.command("simulate")
@click.argument("images", metavar="IMAGES|PROJECT", type=PATH)
@click.option("--strategies", default="auto,margin,random", show_default=True, help="Names or files, with commas.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=5, show_default=True, help="Curves of each strategy.")
@click.option("--batch", type=click.IntRange(1, 1000), default=10, show_default=True, help="Images chosen at a time.")
@click.option("--budgets", callback=counts, default="20,50,100,200", show_default=True, help="Labels to judge at.")
@click.option("--backbone", help="What describes the images.  [default: the best one that is on this machine]")
@click.option("--weights", type=PATH, help="A safetensors file for the backbone.")
@click.option("--out", type=PATH, default="simulation", show_default=True, help="Folder for results and features.")
@set_option
@json_option
def simulate(
    images: Path,
    *,
    strategies: str,
    seeds: int,
    batch: int,
    budgets: list[int],
    backbone: str | None,
    weights: Path | None,
    out: Path,
    given: Sequence[str],
    as_json: bool,
) -> None:
    """Play strategies on images whose classes are known: what accuracy for how many labels?

    IMAGES holds train/CLASS and test/CLASS, or only CLASS: then a third of the images, drawn anew for each seed, is the
    test set. Of a PROJECT its labels are played, and its answered held-out images are the test set where there are 20.
    Nothing is written to either.

    Writes curves.jsonl (one line a curve, equal for equal seeds) and curves.svg to the folder --out, over those of an
    earlier call; features of the images are kept there too. A strategy that fails is named and left out of all of it,
    and the others go on; the command then ends with status 1.

    \b
    labelloop simulate ~/photos --seeds 10 --backbone tf_efficientnet_lite0
    labelloop simulate leaves --strategies auto,badge,typiclust,random --budgets 20,40,80
    labelloop simulate ~/photos --strategies auto,mine.py
    labelloop simulate leaves --strategies margin,power_margin --set power_margin.power=2
    """
    is_project = (images / "project.db").is_file()
    if is_inside(out, images):
        raise BadInput(f"results would go to {out}, inside {images}, which is left as it is; name another with --out")
    those = _checked(strategies, images if is_project else None)
    settings = settings_of(those, given)
    with _known(images, is_project, Network(backbone, weights), batch, out) as known:
        say(known.words)
        if known.material.chosen_from < budgets[-1]:
            say(f"Budgets end at {known.material.chosen_from} labels, all there are to choose from.")
        played, failed = _play(known.material, those, seeds, batch, budgets, settings=settings)
        about = {"images": str(images), "features": known.made_by, "batch": batch, "budgets": budgets}
        _write(out / RAW, "".join(line(one, known, about) for one in played))
    names = [one.name for one in those if one.name not in failed]
    compared = {name: curves.collect({p.seed: p.curve for p in played if p.strategy == name}) for name in names}
    n, seconds = known.material.chosen_from, {name: _seconds(played, name, batch) for name in names}
    _write(out / PLOT, drawing(compared, f"{images.resolve().name}: {n} images, batches of {batch}, {seeds} seeds"))
    files = {"raw": str(out / RAW), "plot": str(out / PLOT)}
    if as_json:
        print_json({"strategies": summary(compared, n, seconds), "failed": failed, "files": files})
    else:
        for text in tables(compared, n, seconds, same_images=len(known.material.exam) > 0):
            click.echo(text)
        say(f"Every curve: {files['raw']}; drawn: {files['plot']}")
    if failed:
        raise BadStrategy(f"left out, for reasons said above: {', '.join(failed)}")


def _play(
    found: Material, those: Sequence[Strategy], seeds: int, batch: int, budgets: Sequence[int], *, settings: Settings
) -> tuple[list[Played], dict[str, str]]:
    """Every strategy with every seed, seed by seed, and why strategies failed: they are left out, and the others go on.

    Raises what is wrong with random: nothing can be compared without it.
    """
    played: list[Played] = []
    failed: dict[str, str] = {}
    turns = [(seed, one) for seed in range(seeds) for one in those]
    with redirect_stdout(sys.stderr), Bar("curves") as bar:  # what a strategy prints is no answer of the command
        for k, (seed, one) in enumerate(turns):
            if one.name in failed:
                continue
            bar.show(k, len(turns))
            try:
                curve = play(found, one, budgets, batch, seed=seed, settings=settings[one.name])
                played.append(_long_enough(curve, min(budgets[0], found.chosen_from)))
            except LabelloopError as error:
                if one.name == OTHER:
                    raise
                failed[one.name] = str(error)
                bar.say(f"{one.name} is left out: {error}")
    return [one for one in played if one.strategy not in failed], failed


def _checked(strategies: str, project: Path | None) -> list[Strategy]:
    """Strategies that can be played, random among them; raises BadInput for one that is not there."""
    offered = load_all(project)
    for problem in offered.problems:
        say(f"broken: {problem}")
    names = list(dict.fromkeys(name.strip() for name in strategies.split(",") if name.strip()))
    if not names:
        raise BadInput("no strategy is named; wanted names such as --strategies auto,random")
    those = [one for name in [*names, OTHER] for one in _named(name, offered)]
    for one in those:
        refuse_again(one)
    return list({one.name: one for one in those}.values())


def _named(name: str, offered: Offered) -> list[Strategy]:
    """The strategy of that name, or those in the file of that name; raises BadInput and BadStrategy."""
    if not name.endswith(".py"):
        return [offered.get(name)]
    own = load(Path(name))
    for one in own:
        refuse_taken(one, offered.known)
    return own


@dataclass(frozen=True)
class Known:
    """What is played on, the name of each row, and what made the features."""

    material: Material
    paths: Sequence[str]
    made_by: str

    @property
    def words(self) -> str:
        """What is chosen from and what is judged by."""
        found = self.material
        kind = "" if len(found.exam) else ", a third, drawn anew for each seed"
        images = f"{found.chosen_from} images of {len(found.classes)} classes to choose from"
        return f"{images}; judged by {found.test_size} others{kind}."


@contextmanager
def _known(images: Path, is_project: bool, network: Network, batch: int, out: Path) -> Iterator[Known]:
    """From a folder or a project, which is open as long as strategies may read from it."""
    if not is_project:
        yield Known(*material_of(listed(images), network, batch, out))
        return
    if network.backbone or network.weights:
        raise BadInput(f"{images} is a project and has features of its own; leave out --backbone and --weights")
    with Project(images) as opened:
        board = read_board(opened)
        without = int(((board.label >= 0) & ~board.embedded & ~board.gone).sum())
        if without:
            say(f"Labeled images without features, left out: {without}; labelloop embed {images} makes them.")
        found = material(opened, batch)
        in_charge = opened.features_in_charge
        yield Known(found, found.late["paths"](), f"{in_charge['backbone']} {in_charge['name']}")


def line(one: Played, known: Known, about: dict[str, Any]) -> str:
    """A curve with all that is needed to play it again, as JSON. No seconds: the same seeds give the same line."""
    points = [{key: point[key] for key in ("labels", "accuracy", "macro_accuracy")} for point in one.curve]
    picked = [known.paths[row] for row in one.pool[one.curve[-1]["picked"]]]
    values = {
        "strategy": one.strategy,
        "settings": {name: in_json(value) for name, value in one.settings.items()},
        "seed": one.seed,
        **about,
        "classes": list(known.material.classes),
        "pool": len(one.pool),
        "test": known.material.test_size,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "curve": points,
        "picked": picked,
    }
    return json.dumps(values) + "\n"


def _long_enough(one: Played, first: int) -> Played:
    """The same; raises BadInput for a strategy without an accuracy at the first budget, as nothing can be compared."""
    labels = one.curve[-1]["labels"] if one.curve else 0
    if labels < first:
        raise BadInput(
            f"{one.strategy} offered {labels} images and no more, with seed {one.seed}: it gives the others -inf, "
            f"which means never. Wanted {first}, the first of --budgets; leave it out, or begin with a smaller one"
        )
    return one


def _seconds(played: Sequence[Played], name: str, batch: int) -> float:
    """Mean seconds to choose a batch."""
    own = [one.curve for one in played if one.strategy == name]
    batches = sum(curve[-1]["labels"] for curve in own) / batch
    return float(np.sum([point["select_seconds"] for curve in own for point in curve]) / batches)


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}; name another folder with --out") from error


COMMANDS = (simulate,)
