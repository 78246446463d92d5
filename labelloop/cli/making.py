"""Commands that make a project and bring images into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from labelloop import folders
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
from labelloop.cli.terminal import print_json, say, scan
from labelloop.errors import BadInput
from labelloop.project import Project, nothing_left_on_error
from labelloop.types import Settings

PROBLEMS_SHOWN = 10


@click.command()
@project_argument
@click.argument("images", type=PATH)
@click.option("--classes", help="Names, with commas between them.")
@click.option("--labels-from-folders", is_flag=True, help="The folder an image lies in is its label.")
@click.option("--backbone", help="What describes the images.  [default: the best one that is on this machine]")
@click.option("--weights", type=PATH, help="A safetensors file for the backbone.")
@click.option("--held-out", type=float, default=0.1, show_default=True, help="Share of images kept for the exam.")
@click.option(
    "--fine-tunes/--no-fine-tunes", default=True, help="Fine-tune by itself when there are enough new labels, or never."
)
@by_option
@click.option("-v", "--verbose", is_flag=True, help="List every file that cannot be used.")
def init(
    project: Path, images: Path, classes: str | None, labels_from_folders: bool, by: str, verbose: bool, **settings: Any
) -> None:
    """Make a project from the images in a folder.

    PROJECT is a new folder; the images below IMAGES stay where they are and are never written to.

    \b
    labelloop init leaves ~/photos --classes rust,mildew,healthy
    labelloop init birds ~/birds --labels-from-folders
    """
    from labelloop.backbone import resolve

    if classes is None and not labels_from_folders:
        raise BadInput("which classes are there? Name them with --classes a,b,c, or take --labels-from-folders")
    weights = settings["weights"] and settings["weights"].expanduser().resolve()
    name, why = resolve(settings["backbone"], weights)
    wanted = Settings(
        backbone=name,
        weights=weights and str(weights),
        held_out=settings["held_out"],
        fine_tunes=settings["fine_tunes"],
    )
    with (
        nothing_left_on_error(project),
        Project.create(project, images, classes.split(",") if classes else (), wanted) as made,
    ):
        read_files(made, verbose=verbose)
        if not len(made.catalog):
            raise BadInput(f"there is no image in {images} that can be read; the project was not made")
        if labels_from_folders:
            say_from_folders(folders.labels_from_folders(made, by=by))
        say(f"Classes: {', '.join(made.classes)}")
        say(f"Backbone: {name} ({why})")
    click.echo(f"{project} is ready. Label with: labelloop app {project}")


def read_files(project: Project, *, verbose: bool = False) -> None:
    """Scan, and say what was found and what cannot be used."""
    seen = scan(project)
    gone = f"; gone: {seen.gone}" if seen.gone else ""
    say(f"Images: {len(project.catalog)}, new: {seen.added}{gone}")
    problems = project.catalog.problems() if seen.unreadable or verbose else []
    if problems:
        say(f"Files that cannot be used: {len(problems)}")
    for path, reason in problems if verbose else problems[:PROBLEMS_SHOWN]:
        say(f"  {path}: {reason}")
    if len(problems) > PROBLEMS_SHOWN and not verbose:
        say(f"  … and {len(problems) - PROBLEMS_SHOWN} others; --verbose lists all")


def say_from_folders(found: folders.FromFolders) -> None:
    """What became of the folder names."""
    say(f"Labels from folder names: {found.labels}")
    if found.not_classes:
        say(f"These folders are called like no class and gave no labels: {', '.join(found.not_classes)}")
    for name, classes in found.torn.items():
        say(f"  {name} lies in folders of several classes ({', '.join(classes)}) and got no label")


@click.command()
@project_argument
@click.argument("folder", type=PATH, required=False)
@click.option("--instead-of", "old", type=PATH, metavar="OLD", help="A folder that was moved to FOLDER, or renamed.")
@click.option("-v", "--verbose", is_flag=True, help="List every file that cannot be used.")
def add(project: Path, folder: Path | None, old: Path | None, verbose: bool) -> None:
    """Take in new, changed and vanished files. With FOLDER, that folder belongs to the project too from now on.

    \b
    labelloop add leaves
    labelloop add leaves ~/more-photos
    labelloop add leaves ~/2026/photos --instead-of ~/photos
    """
    if old is not None and folder is None:
        raise BadInput(f"where is {old} now? labelloop add {project} FOLDER --instead-of {old}")
    with Project(project) as opened:
        if folder is not None:
            opened.add_folder(folder, instead_of=old)
        read_files(opened, verbose=verbose)


@click.command()
@project_argument
@click.option("--add", "added", multiple=True, metavar="NAME", help="A new class; may be repeated.")
@click.option("--rename", "renamed", nargs=2, multiple=True, metavar="OLD NEW", help="In all its answers, too.")
@click.option("--merge", "merged", nargs=2, multiple=True, metavar="NAME INTO", help="One class out of two.")
@click.option("--unmerge", "unmerged", multiple=True, metavar="NAME", help="Two classes again, each with its answers.")
@json_option
def classes(
    project: Path,
    added: tuple[str, ...],
    renamed: tuple[tuple[str, str], ...],
    merged: tuple[tuple[str, str], ...],
    unmerged: tuple[str, ...],
    as_json: bool,
) -> None:
    """The classes, in the order of their keys, and how many labels each has.

    \b
    labelloop classes leaves
    labelloop classes leaves --add septoria
    labelloop classes leaves --rename mildw mildew
    labelloop classes leaves --merge powdery-mildew mildew
    """
    with Project(project) as opened:
        for old, new in renamed:
            opened.rename_class(old, new)
        for name, into in merged:
            opened.merge_class(name, into)
        for name in unmerged:
            opened.unmerge_class(name)
        for name in added:
            opened.add_class(name)
        counts, names = read_board(opened).counts, opened.classes
        parts = [(names[index], names[target]) for index, target in opened.merged.items()]
    if as_json:
        print_json(counts)
        return
    for name, count in counts.items():
        click.echo(f"{count:>6}  {name}")
    for name, into in parts:
        click.echo(f"        {name} was merged into {into}")


@click.command()
@click.argument("folder", type=PATH, default="labelloop-demo")
@host_option
@port_option
@browser_option
def demo(folder: Path, host: str, port: int, no_browser: bool) -> None:
    """Label the sample images. Makes a project in FOLDER, or opens the one there, and starts the app.

    \b
    labelloop demo
    """
    from labelloop.demo import create_demo
    from labelloop.server import serve

    if not (folder / "project.db").is_file():
        with nothing_left_on_error(folder), create_demo(folder) as made:
            read_files(made)
    serve(folder, host=host, port=port, browser=not no_browser)


COMMANDS = (init, add, classes, demo)
