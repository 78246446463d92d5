"""Commands that use the model elsewhere: on other images, and without labelloop."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from labelloop.cli.making import PROBLEMS_SHOWN
from labelloop.cli.options import PATH, project_argument
from labelloop.cli.terminal import Bar, say
from labelloop.exchange import outside_images
from labelloop.formats.files import new_file
from labelloop.predicting import write_table
from labelloop.project import Project

RATE = click.FloatRange(1e-9, 1, max_open=True)  # lower ones would need more answers than there are people


def take_model(project: Path, out: Path, *, onnx: bool) -> None:
    """Write the model, and say how good it is and that it was tried."""
    from labelloop.cli.looping import accuracy_in_words
    from labelloop.takehome import export_model

    with Project(project) as opened, Bar() as bar:
        taken = export_model(opened, out, onnx=onnx, progress=lambda words: bar.show(0, 0, words), announce=say)
    click.echo(f"The model ({taken.backbone}, {len(taken.classes)} classes, {taken.labels} labels) is in {out}")
    click.echo(f"Accuracy on held-out images: {accuracy_in_words(taken.exam)}")
    say(f"Its probabilities equal labelloop's on {taken.compared} images (within {max(taken.difference, 1e-7):.0e}).")
    say(f"Try it: python {out / 'predict.py'} IMAGE_OR_FOLDER")


@click.command()
@project_argument
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, help="The CSV file to write.  [default: stdout]")
@click.option("--error", type=RATE, default=0.05, show_default=True, help="Share of the sure ones that may be wrong.")
@click.option("-v", "--verbose", is_flag=True, help="List every file that cannot be read.")
def predict(project: Path, folder: Path, out: Path | None, error: float, verbose: bool) -> None:
    """Say what is on the images of FOLDER, and which of them a person should look at.

    Writes the columns file, class, probability and decision, which is "sure" or "ask a person". It is sure from the
    lowest probability on at which, judged by the held-out answers, no more than --error are wrong. That holds for
    images like those of the project.

    \b
    labelloop predict leaves ~/new-photos --out new.csv
    labelloop predict leaves ~/new-photos --out new.csv --error 0.01
    """
    problems: list[str] = []
    with Project(project) as opened, _place(opened, out) as file:
        try:
            with Bar() as bar:
                answered = write_table(
                    opened, folder, file, error, progress=bar.show, on_problem=problems.append, announce=say
                )
        finally:  # where not one image can be read, they are why
            _say_problems(problems, verbose)
    click.echo(answered.summary, err=out is None)


@contextmanager
def _place(project: Project, out: Path | None) -> Iterator[BinaryIO]:
    """A new file, there in the end or not at all; else stdout, which other than the words said is for a pipe."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    with new_file(outside_images(project, out)) as file:
        yield file


def _say_problems(problems: list[str], verbose: bool) -> None:
    if problems:
        say(f"Files that cannot be used: {len(problems)}")
    for words in problems if verbose else problems[:PROBLEMS_SHOWN]:
        say(f"  {words}")
    if len(problems) > PROBLEMS_SHOWN and not verbose:
        say(f"  … and {len(problems) - PROBLEMS_SHOWN} others; --verbose lists all")


COMMANDS = (predict,)
