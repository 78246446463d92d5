"""Commands of the loop: embed, choose, answer, train."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click

from labelloop.board import read_board
from labelloop.cli.options import (
    PATH,
    browser_option,
    by_option,
    host_option,
    json_option,
    port_option,
    project_argument,
)
from labelloop.cli.settings import set_option, settings_of
from labelloop.cli.terminal import have_done, print_json, say
from labelloop.learning import learn
from labelloop.loop import load_strategies, next_batch, record
from labelloop.metrics import ENOUGH, Accuracy
from labelloop.project import Project
from labelloop.strategies import Value


@click.command()
@project_argument
def embed(project: Path) -> None:
    """Turn images into the numbers that all else works on. Stopped with Ctrl-C, it goes on where it was.

    \b
    labelloop embed leaves
    """
    with Project(project) as opened:
        job = have_done(opened, "embed")
        board = read_board(opened)
    stopped = "Stopped; the same command goes on from here. " if job.state == "stopped" else ""
    there = ~board.gone
    if job.state == "done":
        say(job.message)
    click.echo(f"{stopped}{(board.embedded & there).sum()} of {there.sum()} images are embedded.")


@click.command()
@click.argument("project", type=PATH, required=False)
@host_option
@port_option
@browser_option
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name under which a proxy serves the app.")
def app(project: Path | None, host: str, port: int, no_browser: bool, allow_host: Sequence[str]) -> None:
    """Open the app, to label, review, train and export.

    \b
    labelloop app leaves
    labelloop app leaves --port 9000 --no-browser
    """
    from labelloop.server import serve

    serve(project, host=host, port=port, browser=not no_browser, allow=allow_host)


@click.command("next")
@project_argument
@click.option("-n", "n", type=click.IntRange(min=1), default=20, show_default=True, help="How many images.")
@click.option("--strategy", help="What chooses them.  [default: the project's]")
@set_option
@json_option
def next_command(project: Path, n: int, strategy: str | None, given: Sequence[str], as_json: bool) -> None:
    """Print the images to label next, best first and why.

    Settings that are not given are those stored for the project's own strategy, and the defaults of any other.

    \b
    labelloop next leaves -n 50
    labelloop next leaves --strategy margin --json
    labelloop next leaves --strategy power_margin --set power=2
    """
    with redirect_stdout(sys.stderr), Project(project) as opened:  # what a strategy prints is no answer of the command
        batch = next_batch(opened, n, strategy=strategy, settings=_settings(opened, strategy, given))
        images = opened.catalog.images([pick.image_id for pick in batch.picks])
        names = (*opened.classes, None)
        problems = load_strategies(opened).problems
    rows = [
        {
            "id": pick.image_id,
            "file": str(images[pick.image_id].path),
            "strategy": pick.strategy,
            "score": pick.score,
            "reason": pick.reason,
            "suggestion": names[-1 if pick.suggestion is None else pick.suggestion],
            "probability": pick.probability,
            "held_out": pick.held_out,
            "round": batch.round,
        }
        for pick in batch.picks
    ]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['file']}\t{row['reason']}")
    for problem in problems:  # another one of that name may have run instead
        say(str(problem))
    if 0 < len(rows) < n:
        say(f"{len(rows)} of the {n} images asked for are left.")
    elif not rows:
        say("Nothing to label: all is answered, or the strategy offers none.")


def _settings(project: Project, strategy: str | None, given: Sequence[str]) -> dict[str, Value] | None:
    """What was typed, over what the project has stored; None where nothing was."""
    if not given:
        return None
    stored = project.settings
    one = load_strategies(project).get(strategy or stored.strategy)
    own = stored.strategy_settings if one.name == stored.strategy else {}
    return {**own, **settings_of([one], given)[one.name]}


@click.command()
@project_argument
@click.argument("file", type=PATH)
@click.argument("name", metavar="CLASS")
@by_option
def label(project: Path, file: Path, name: str, by: str) -> None:
    """Answer one image: FILE is a CLASS. It is on disk when the command ends, and an open app sees it.

    If the image was chosen, by labelloop next or in the app, the log says in which round and by which strategy.

    \b
    labelloop label leaves ~/photos/IMG_2.jpg rust
    """
    with Project(project) as opened:
        image_id = opened.catalog.find(file)
        before = in_words(opened, image_id)
        event_id = opened.label(opened.rounds.newest_pick(image_id) or image_id, name, by=by)
        click.echo(f"{event_id}: {opened.catalog.image(image_id).name} is {in_words(opened, image_id)} (was: {before})")


def in_words(project: Project, image_id: int) -> str:
    """The answer of an image."""
    for answer in project.log.answers(image_ids=[image_id]):
        return str(answer.kind if answer.class_index is None else project.classes[answer.class_index])
    return "not labeled"


@click.command()
@project_argument
@click.option(
    "--fine-tune", is_flag=True, help="Adapt the backbone itself to the images: minutes to hours, often better."
)
def train(project: Path, fine_tune: bool) -> None:
    """Train on all labels. Says how good the model is on the held-out images, which it never sees.

    An open app trains by itself after every answer. Fine-tuning takes over only where it does better; stopped with
    Ctrl-C, it goes on where it was.

    \b
    labelloop train leaves
    labelloop train leaves --fine-tune
    """
    with Project(project) as opened:
        if fine_tune:
            job = have_done(opened, "fine-tune")
            if job.state == "stopped":
                click.echo("Stopped; the same command goes on from here.")
                return
            click.echo(job.message)
        board = read_board(opened)
        learned = learn(board)
        record(opened, board, learned)
    click.echo(f"Trained on {learned.labels} labels in {learned.seconds:.1f} s.")
    click.echo(f"Accuracy on held-out images: {accuracy_in_words(learned.exam)}")


def accuracy_in_words(exam: Accuracy) -> str:
    """A share with its interval and what it rests on, or how much is missing for one."""
    if not exam.enough:
        return f"not enough yet ({exam.n} of {ENOUGH} are answered)"
    return f"{exam.value:.0%} (95 % interval {exam.low:.0%} to {exam.high:.0%}, n = {exam.n})"


COMMANDS = (embed, app, next_command, label, train)
