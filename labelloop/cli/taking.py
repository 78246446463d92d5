"""Commands that use the model elsewhere: on other images, and without labelloop."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from labelloop.cli.making import PROBLEMS_SHOWN
from labelloop.cli.options import PATH, project_argument
from labelloop.cli.terminal import Bar, say
from labelloop.errors import BadInput
from labelloop.exchange import outside_images
from labelloop.formats.files import new_file
from labelloop.formats.table import csv_line
from labelloop.images import find_files
from labelloop.predicting import (
    ASK,
    COLUMNS,
    SURE,
    Threshold,
    csv_rows,
    fewest,
    model_in_charge,
    predict_files,
    threshold_of,
)
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
        files = find_files(folder)
        if not files:
            raise BadInput(f"there are no files in {folder}; wanted a folder of images")
        say("learning from all answers …")
        model = model_in_charge(opened, announce=say)
        threshold = threshold_of(model, error)
        decisions: Counter[str] = Counter()
        file.write(csv_line(COLUMNS))
        with Bar() as bar:
            found = predict_files(
                model, folder, files, progress=lambda done: bar.show(done, len(files)), on_problem=problems.append
            )
            for row in csv_rows(found, model.board.classes, threshold):
                file.write(csv_line(row))
                decisions[row[-1]] += 1
        _say_problems(problems, verbose)
        if not decisions:
            raise BadInput(f"there is no image in {folder} that can be read")
    still_open = len(model.board.exam_open)
    click.echo(summary(decisions[SURE], decisions[ASK], threshold, still_open), err=out is None)


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


def summary(sure: int, ask: int, threshold: Threshold, still_open: int) -> str:
    """One line: how many are sure, from which probability on, and what that rests on.

    `still_open` held-out images wait for an answer: where they are not enough, only more images help.
    """
    t, allowed = threshold, f"{100 * threshold.error:.3g}%"
    if t.is_found:
        return (
            f"{sure} of {sure + ask} images are sure (probability {t.value:.4f} or more), {ask} ask a person. Of {t.n} "
            f"held-out answers {t.above} are so probable and {t.wrong} of those wrong: at most {t.at_most:.1%} by the "
            f"95 % interval, and {allowed} was allowed."
        )
    few = fewest(t.error)
    because = f"it takes {few} held-out answers, were all of them right, and "
    if t.n >= few:
        because = f"too many of the {t.n} held-out answers are wrong, however sure the model is. Label more"
    elif t.n + still_open >= few:
        because += f"there are {t.n}. Answer more of the exam"
    else:
        because += f"only {t.n + still_open} images are held out, {t.n} of them answered. Adding images gives more"
    return f"All {ask} images ask a person: for at most {allowed} wrong {because}, or allow more with --error."


COMMANDS = (predict,)
