"""Commands for one's own strategies: see which there are, check the contract, replay them on labels one has.

Left out: the contract (strategies/check.py), the process it runs in (apart.py), and what a replay counts (replay.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import click

from labelloop import loop
from labelloop.cli.apart import INSTALLED, broken, check_apart
from labelloop.cli.options import PATH, json_option, project_argument
from labelloop.cli.replay import COLD_START, OTHERS, material, refuse_again, replay, table, verdict
from labelloop.cli.settings import in_json, set_option, settings_of
from labelloop.cli.terminal import Bar, print_json, say
from labelloop.errors import BadInput
from labelloop.project import Project
from labelloop.strategies import Strategy
from labelloop.strategies.check import Report, load, name_taken, needs_model
from labelloop.strategies.folder import drop_in_files
from labelloop.strategies.registry import Offered, refuse_taken

NAMED = 3  # pools named with a fault; the rest is counted


# -- strategies -------------------------------------------------------------------------------------------------------


@click.command("strategies")
@click.argument("project", type=PATH, required=False)
@json_option
def strategies_command(project: Path | None, as_json: bool) -> None:
    """List the strategies there are: built in, from installed packages, and from files.

    With PROJECT also those of its folder strategies/.

    \b
    labelloop strategies
    labelloop strategies leaves --json
    """
    offered = load_all(project)
    found, problems = offered.known.values(), offered.problems
    if as_json:
        print_json({"strategies": [described(one) for one in found], "broken": [str(problem) for problem in problems]})
        return
    for one in found:
        click.echo(f"{one.name:24}{one.what}")
        settings = f"; {one.settings_in_words}" if one.settings else ""
        click.echo(f"{'':24}{origin(one)}{settings}{'; asks again' if one.again else ''}")
    for problem in problems:
        click.echo(f"broken: {problem}")
    if problems:
        say("labelloop check says what to do about those that are broken.")


def load_all(project: Path | None) -> Offered:
    """What a project can use, or what all can; what their files print goes to stderr, as it is no answer."""
    with redirect_stdout(sys.stderr), nullcontext() if project is None else Project(project) as opened:
        return loop.load_strategies(opened)


def described(one: Strategy) -> dict[str, Any]:
    """What the list says about a strategy, for JSON."""
    return {
        "name": one.name,
        "what": one.what,
        "from": origin(one),
        "again": one.again,
        "settings": {
            name: {"type": setting.type.__name__, "default": in_json(setting.default)}
            for name, setting in one.settings.items()
        },
    }


def origin(one: Strategy) -> str:
    """'built-in', 'file …' or 'package …'."""
    if one.origin.startswith("labelloop.strategies."):
        return "built-in"
    return f"file {one.origin}" if one.origin.endswith(".py") else f"package {one.origin}"


# -- check ------------------------------------------------------------------------------------------------------------


@click.command("check")
@click.argument("file", type=PATH, required=False)
@click.option("--project", type=PATH, help="Also the strategies of this project.")
@click.option(
    "--limit", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds for one pool of images."
)
@click.pass_context
def check_command(context: click.Context, file: Path | None, project: Path | None, limit: float) -> None:
    """Run the contract on the strategies of FILE, wherever it lies; without FILE on all there are.

    Says what is wrong in plain words, and what the strategy costs. Ends with status 1 when the contract is broken.

    \b
    labelloop check mine.py
    labelloop check --project leaves
    """
    folders = [loop.OWN_STRATEGIES]
    if project is not None:
        with Project(project) as opened:
            folders.append(opened.folder / "strategies")
    whole = True
    for reports in [_reports(file, limit, folders)] if file else _all(folders, limit):
        for report in reports:
            whole &= not report.faults
            click.echo("\n".join(report_lines(report, notes=file is not None)))
    context.exit(0 if whole else 1)


def _reports(file: Path | None, limit: float, known: Sequence[Path] = ()) -> list[Report]:
    with Bar() as bar:
        return list(check_apart(file, limit=limit, known=known, step=lambda words: bar.show(0, 0, f"checking {words}")))


def _all(folders: list[Path], limit: float) -> Iterator[list[Report]]:
    """Each file by itself, so that one that never ends keeps none of the others from being checked."""
    files = [file for folder in folders for file in drop_in_files(folder)]
    taken: dict[str, Path | None] = {}
    for file in (None, *files):
        try:
            reports = _reports(file, limit)
        except BadInput as error:  # a link to itself, or it went a moment ago: the others are checked all the same
            reports = [broken(file.name if file else INSTALLED, error)]
        for report in reports:
            if (other := taken.setdefault(report.name, file)) != file:
                report.faults.append(name_taken(report.name, str(other), str(file)))
        yield reports


def report_lines(report: Report, *, notes: bool = True) -> Iterator[str]:
    """A report for a person: one line, and what is wrong below it."""
    yield report.summary
    for one in report.faults:
        yield f"  {one.place}: {one.found}" if one.place else f"  {one.found}"
        yield f"    wanted:  {one.wanted}"
        yield f"    to do:   {one.todo}"
        if one.on:
            more = len(one.on) - NAMED
            yield f"    seen on: {'; '.join(one.on[:NAMED])}{f' and {more} more' if more > 0 else ''}"
    yield from (f"  warning: {text}" for text in report.warnings)
    yield from (f"  note: {text}" for text in report.notes if notes)


# -- try --------------------------------------------------------------------------------------------------------------


@click.command("try")
@click.argument("file", type=PATH)
@project_argument
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Replays of each strategy.")
@click.option("--batch", type=click.IntRange(1, 1000), default=10, show_default=True, help="Images chosen at a time.")
@set_option
def try_command(file: Path, project: Path, *, seeds: int, batch: int, given: Sequence[str]) -> None:
    """Replay the strategies of FILE on the labels of PROJECT, against auto and random.

    Pretends that the labels come in the order in which the strategy would have asked for them, and counts what a model
    would have got right. Nothing is written to the project.

    \b
    labelloop try mine.py leaves
    labelloop try mine.py leaves --seeds 10 --batch 5
    labelloop try mine.py leaves --set boost=2
    """
    own = load(file)
    settings = settings_of(own, given)
    with Project(project) as opened:
        # A new version of one that the project has may be tried, so only names for all projects are taken.
        taken = loop.load_strategies().known
        for one in own:
            refuse_taken(one, taken)
            refuse_again(one)
            if needs_model(one):
                until = "until labels of two classes are there"
                say(f"{one.name} needs a model: {until}, {COLD_START} chooses in its place.")
        found = material(opened, batch)
        say(found.words)
        with Bar("replays") as bar:
            those = [*own, *(taken[name] for name in OTHERS)]
            curves = replay(found, those, seeds, batch, settings=settings, progress=bar.show)
    click.echo("\n".join(table(curves)))
    for one in own:
        click.echo(verdict(curves, one.name, found))


COMMANDS = (strategies_command, check_command, try_command)
