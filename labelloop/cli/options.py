"""What several commands ask for."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import click


class OwnPath(click.Path):
    """A path, with ~ as the shell leaves it in --weights=~/x."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """From what was typed."""
        try:
            return Path(value).expanduser()
        except RuntimeError:
            self.fail(f"{str(value)!r}: there is no such home directory", param, ctx)


PATH = OwnPath(path_type=Path)
NUMBER = click.IntRange(1, 2**63 - 1)  # what SQLite can count


def user() -> str:
    """Who is at the keyboard; nobody where the system has no name for them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


project_argument = click.argument("project", type=PATH)
by_option = click.option("--by", default=user, show_default="your user name", help="Who answers.")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for scripts.")
port_option = click.option(
    "--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any free."
)
browser_option = click.option("--no-browser", is_flag=True, help="Only print the address.")
host_option = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="0.0.0.0 lets others on the network in: there is no password.",
)
