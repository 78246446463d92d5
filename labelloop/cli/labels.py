"""Commands that look at the labels, take them out and in, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from labelloop import formats
from labelloop.board import SKIP, UNSURE, read_board
from labelloop.cli.looping import accuracy_in_words, in_words
from labelloop.cli.options import NUMBER, PATH, by_option, json_option, project_argument
from labelloop.cli.taking import take_model
from labelloop.cli.terminal import Bar, print_json, say
from labelloop.errors import BadInput
from labelloop.exchange import Filter, export_labels, import_labels, plan
from labelloop.metrics import ENOUGH, Accuracy, wilson
from labelloop.project import Measured, Project
from labelloop.types import ANSWERS, Event, Source
from labelloop.worker import describe

FORMAT = click.Choice(formats.names())


# -- status -----------------------------------------------------------------------------------------------------------


@click.command()
@project_argument
@json_option
def status(project: Path, as_json: bool) -> None:
    """Where a project stands.

    \b
    labelloop status leaves
    labelloop status leaves --json
    """
    with Project(project) as opened:
        found = status_of(opened)
    if as_json:
        print_json(found)
        return
    for name, text in status_lines(found):
        click.echo(f"{name:12}{text}")


def status_of(project: Project) -> dict[str, Any]:
    """Everything `status` shows; the accuracy is the one the newest model on the features in charge was recorded with.

    Features of before may be lost, with the model that was fine-tuned to make them: its accuracy is nobody's then.
    """
    board = read_board(project)
    there = ~board.gone
    counts = board.counts
    models = [m for m in project.rounds.models() if m.in_charge and m.features == board.features_name]
    exam = exam_of(models[-1]) if models else Accuracy(0, 0, 0.0, 0.0, 1.0)
    return {
        "images": int(there.sum()),
        "unreadable": len(project.catalog.problems()),
        "gone": int(board.gone.sum()),
        "embedded": int((board.embedded & there).sum()),
        "labels": counts,
        "labeled": sum(counts.values()),
        "unsure": int((board.state == UNSURE).sum()),
        "skipped": int((board.state == SKIP).sum()),
        "held_out": {
            "n": exam.n,
            "answered": len(board.exam),
            "accuracy": exam.value if exam.enough else None,
            "low": exam.low if exam.enough else None,
            "high": exam.high if exam.enough else None,
            "enough": exam.enough,
        },
        "held_out_images": int((board.held_out & there).sum()),
        "model": {key: getattr(models[-1], key) for key in ("labels", "at", "kind", "features")} if models else None,
        "worker": describe(project.jobs.latest()),
        "backbone": project.features_in_charge["backbone"],
        "strategy": project.settings.strategy,
        "round": project.rounds.last(),
    }


def exam_of(model: Measured) -> Accuracy:
    """How a recorded model did on the held-out answers of its time."""
    low, high = wilson(model.exam_correct, model.exam_n)
    share = model.exam_correct / model.exam_n if model.exam_n else 0.0
    return Accuracy(model.exam_n, model.exam_correct, share, low, high)


def status_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The same in words."""
    classes = ", ".join(f"{name} {count}" for name, count in found["labels"].items())
    model, job = found["model"], found["worker"]
    message = f": {job['message']}" if job and job["state"] != "done" and job["message"] else ""
    working = f"{job['kind']}, {job['state']}, {job['done']} of {job['total']}{message}" if job else "nothing so far"
    return [
        ("images", f"{found['images']} ({found['unreadable']} files unreadable, {found['gone']} images gone)"),
        ("embedded", f"{found['embedded']} of {found['images']} with {found['backbone']}"),
        ("labels", f"{found['labeled']}: {classes}" if classes else "no classes yet"),
        ("unsure", f"{found['unsure']}, skipped {found['skipped']}"),
        ("accuracy", accuracy_line(found)),
        ("model", f"{model['kind']} on {model['labels']} labels, {model['at']}" if model else "none yet"),
        ("worker", working),
        ("strategy", f"{found['strategy']}, round {found['round']}"),
    ]


def accuracy_line(found: dict[str, Any]) -> str:
    """How good the model is, of when that is where answers came or went since, or what is missing for it."""
    exam, held_out = found["held_out"], f"{found['held_out_images']} images are held out"
    then, now = exam["n"], exam["answered"]
    if exam["enough"]:
        words = accuracy_in_words(Accuracy(then, 0, exam["accuracy"], exam["low"], exam["high"]))
        since = "" if now == then else f" as of {found['model']['at']}: {then} answers then, {now} now"
        return f"{words}{since}; {held_out}"
    if now >= ENOUGH:
        return f"{now} are answered; `labelloop train PROJECT` says how good the model is; {held_out}"
    few = f"not enough yet ({now} of {ENOUGH} are answered)"
    enough_held_out = found["held_out_images"] >= ENOUGH
    return f"{few}; {held_out}" if enough_held_out else f"{few}; only {held_out}, adding images gives more"


# -- out and in -------------------------------------------------------------------------------------------------------


@click.command("export")
@project_argument
@click.argument("out", type=PATH)
@click.option("--format", "format_name", type=FORMAT, help="Of the labels.")
@click.option("--model", "as_model", is_flag=True, help="Take the model instead: OUT is a new folder.")
@click.option("--onnx", is_flag=True, help="With --model: as ONNX, too. Needs labelloop[onnx].")
@click.option("--link", type=click.Choice(formats.get("imagefolder").options["link"]), help="For imagefolder.")
@click.option("--split", type=click.Choice(["train", "test"]), help="Only these; test is what was held out.")
@click.option("--source", multiple=True, type=click.Choice(get_args(Source)), help="Only labels given like this.")
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Only this class; may be repeated.")
@click.option("--no-flagged", is_flag=True, help="Leave flagged images out.")
def export_command(
    project: Path, out: Path, format_name: str | None, as_model: bool, onnx: bool, link: str | None, **chosen: Any
) -> None:
    """Write the labels, or the model, to a new file or folder. On any error nothing is written.

    The model comes with a predict.py that needs torch and timm, but no labelloop.

    \b
    labelloop export leaves labels.csv --format csv
    labelloop export leaves leaf-model --model
    labelloop export leaves dataset --format imagefolder --link symlink
    labelloop export leaves rust.jsonl --format jsonl --class rust --source human --no-flagged
    """
    if as_model:
        given = [name for name, value in {"format": format_name, "link": link, **chosen}.items() if value]
        if given:
            option = given[0].replace("classes", "class").replace("_", "-")
            raise BadInput(f"--{option} is about labels; leave it out to take the model")
        take_model(project, out, onnx=onnx)
    elif onnx:
        raise BadInput("--onnx is about the model: say --model, too")
    elif format_name is None:
        raise BadInput(f"what is to be taken? Labels: --format {' or '.join(formats.names())}. The model: --model")
    elif link and "link" not in formats.get(format_name).options:
        raise BadInput(f"--link is for imagefolder; {format_name} holds no images")
    else:
        take_labels(project, out, format_name, {"link": link} if link else {}, **chosen)


def take_labels(project: Path, out: Path, format_name: str, options: dict[str, str], **chosen: Any) -> None:
    """Write labels, and say which."""
    with Project(project) as opened:
        names = tuple(opened.classes[opened.class_index(name)] for name in chosen["classes"])
        wanted = Filter(
            split=chosen["split"],
            sources=chosen["source"] or None,
            classes=names or None,
            flagged=not chosen["no_flagged"],
        )
        planned = plan(opened, wanted)
        per_class = ", ".join(f"{name} {count}" for name, count in sorted(planned.per_class.items()))
        say(f"{planned.images} labels: {per_class or 'none'}")
        left_out = {"whose file is gone": planned.gone, "answered with skip or unsure": planned.skipped}
        if any(left_out.values()):
            say("Left out: " + ", ".join(f"{count} {why}" for why, count in left_out.items() if count))
        with Bar() as bar:
            done = export_labels(
                opened, out, format_name, wanted, progress=lambda count: bar.show(count, planned.images), **options
            )
    click.echo(f"{done} labels written to {out}")


@click.command("import")
@project_argument
@click.argument("file", type=PATH)
@click.option("--format", "format_name", type=FORMAT, required=True)
@by_option
def import_command(project: Path, file: Path, format_name: str, by: str) -> None:
    """Take labels from a file or folder. On any error none is taken.

    Images are found by the hash of their bytes; by name where FILE holds none. A label that was there before stays in
    the log.

    \b
    labelloop import leaves labels.csv --format csv --by anna
    """
    with Project(project) as opened:
        taken = import_labels(opened, file, format_name, by=by)
    click.echo(f"{taken.labels} labels imported, {taken.changed} of them in place of another; {taken.unchanged} known")
    if taken.new_classes:
        click.echo(f"New classes: {', '.join(taken.new_classes)}")
    for name, present in taken.renamed.items():
        click.echo(f"{name} is {present} here: the class was renamed or merged")
    if taken.not_held_out:
        click.echo(
            f"{taken.not_held_out} images that the file calls test are not held out here: labelloop decides that by "
            "their bytes"
        )


# -- the log ----------------------------------------------------------------------------------------------------------


@click.command("log")
@project_argument
@click.argument("file", type=PATH, required=False)
@click.option("-n", "n", type=NUMBER, default=20, show_default=True, help="How many, newest first.")
@json_option
def log_command(project: Path, file: Path | None, n: int, as_json: bool) -> None:
    """Who answered what, newest first; with FILE only about that image.

    \b
    labelloop log leaves
    labelloop log leaves ~/photos/IMG_2.jpg --json
    """
    with Project(project) as opened:
        if file is None:
            events = opened.log.latest(n)
        else:
            image_id = opened.catalog.find(file)
            events = [event for event in opened.log.since() if event.image_id == image_id][: -n - 1 : -1]
        rows = log_rows(opened, events)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo("  ".join((f"{row['id']:>5}", row["at"], row["by"] or "?", row["file"], what(row), row["source"])))


def log_rows(project: Project, events: list[Event]) -> list[dict[str, Any]]:
    """Events with the names of their images and classes."""
    names = (*project.classes, None)
    images = project.catalog.images([event.image_id for event in events])
    kept = ("id", "at", "by", "kind", "note", "source", "seconds", "round", "strategy", "probability", "undoes")
    return [
        {key: getattr(event, key) for key in kept}
        | {
            "image": event.image_id,
            "file": str(images[event.image_id].path),
            "class": names[-1 if event.class_index is None else event.class_index],
            "suggestion": names[-1 if event.suggestion is None else event.suggestion],
        }
        for event in events
    ]


def what(row: dict[str, Any]) -> str:
    """One event in words."""
    if row["kind"] == "undo":
        return f"undo of {row['undoes']}"
    return str(row["class"] or (f"note: {row['note']}" if row["kind"] == "note" else row["kind"]))


@click.command()
@project_argument
@click.argument("event_id", type=NUMBER, required=False)
@by_option
@click.pass_context
def undo(context: click.Context, project: Path, event_id: int | None, by: str) -> None:
    """Take back an answer. The newest, the newest of one person (--by), or the one with that number in the log.

    \b
    labelloop undo leaves
    labelloop undo leaves --by anna
    labelloop undo leaves 117
    """
    only_theirs = context.get_parameter_source("by") is click.core.ParameterSource.COMMANDLINE
    with Project(project) as opened:
        if event_id is None:
            event = newest_answer(opened, by if only_theirs else None)
        else:
            event = answer_to_undo(opened, event_id)
        opened.log.append([Event(image_id=event.image_id, kind="undo", undoes=event.id, by=by)])
        name = opened.catalog.image(event.image_id).name
        (row,) = log_rows(opened, [event])
        click.echo(f"Took back {event.id}: {name} was {what(row)}, now it is {in_words(opened, event.image_id)}")


def newest_answer(project: Project, by: str | None) -> Event:
    """The newest answer that was not undone, of anyone or of one person; raises BadInput where there is none."""
    found = project.log.latest(1, by=by, answers_only=True)
    if not found:
        raise BadInput("there is nothing to undo: no answers" + (f" by {by!r}" if by else " yet"))
    return found[0]


def answer_to_undo(project: Project, event_id: int) -> Event:
    """An answer by its number in the log; raises BadInput where it is none, or was taken back before."""
    later = list(project.log.since(event_id - 1))
    if not later or later[0].id != event_id:
        raise BadInput(f"the log has no event {event_id}; see the numbers with: labelloop log")
    if later[0].kind not in ANSWERS:
        raise BadInput(f"event {event_id} is no answer but {later[0].kind!r}; only answers are taken back")
    if any(event.undoes == event_id for event in later):
        raise BadInput(f"event {event_id} was taken back already")
    return later[0]


COMMANDS = (status, export_command, import_command, log_command, undo)
