"""The command `labelloop`: parse, call, print.

    making.py     init, add, classes, demo               options.py    what several commands ask for
    looping.py    embed, app, next, label, train         terminal.py   progress, and words for whoever waits
    labels.py     status, export, import, log, undo      apart.py      a process for code that is not trusted to end
    taking.py     predict, and the model of export       replay.py     strategies replayed on labels that are there
    plugins.py    strategies, check, try                 known.py      image folders whose classes are known
    simulating.py simulate                               drawing.py    learning curves as SVG
    comparing.py  strategies compared, in words            settings.py   settings of strategies, as they are typed

Answers and JSON go to stdout, everything that is only said to whoever waits goes to stderr. Left out: whatever the
app or a script would need too; that is in the core.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from labelloop.cli import labels, looping, making, plugins, simulating, taking
from labelloop.errors import LabelloopError

__all__ = ["main"]


class Commands(click.Group):
    """Shows what is meant for the person as it is; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except LabelloopError as error:
            raise click.ClickException(str(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used."""
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="labelloop")
def main() -> None:
    """Label images with single keys while a model learns from every answer.

    \b
    labelloop demo                                          try it on the sample images
    labelloop init PROJECT IMAGES --classes rust,mildew     start with your own
    labelloop app PROJECT                                   label
    labelloop export PROJECT labels.csv --format csv        take the labels home
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name or class that the terminal cannot show is no error
            stream.reconfigure(errors="backslashreplace")


for page in (making, looping, labels, taking, plugins, simulating):
    for command in page.COMMANDS:
        main.add_command(command)
