"""Settings of strategies as they are typed: --set NAME=VALUE, or --set STRATEGY.NAME=VALUE where several may be meant.

Left out: which values make sense, which each strategy says itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import click

from labelloop.errors import BadInput
from labelloop.strategies import Strategy, Value

Settings = dict[str, dict[str, Value]]  # by the name of the strategy

# click's own types, so that a bool or a number is typed as it is for any other option
_TYPED: dict[type[Value], tuple[click.ParamType[Any], str]] = {
    float: (click.FLOAT, "a number"),
    int: (click.INT, "a whole number"),
    bool: (click.BOOL, "true or false"),
    str: (click.STRING, "text"),
}

set_option = click.option(
    "--set",
    "given",
    multiple=True,
    metavar="[STRATEGY.]NAME=VALUE",
    help="A setting (labelloop strategies lists them), such as power=2, or power_margin.power=2 where several "
    "strategies have it. May be repeated.",
)


def settings_of(those: Sequence[Strategy], given: Sequence[str]) -> Settings:
    """What was typed after --set, for each of those strategies; what was not typed is left out.

    Without a strategy, a name means the only one that has such a setting. Raises BadInput for what belongs to none of
    them or to several, is no value of the setting's type, or is set twice.
    """
    found: Settings = {one.name: {} for one in those}
    for text in given:
        place, equals, value = text.partition("=")
        whose, _, name = place.strip().rpartition(".")
        if not equals or not name:
            raise BadInput(f"--set {text}: wanted NAME=VALUE, such as --set power=2")
        one = _owner(those, whose, name, text)
        if name in found[one.name]:
            raise BadInput(f"--set {text}: {name} of {one.name} is set twice; leave one out")
        found[one.name][name] = _read(one, name, value, text)
    return found


def _owner(those: Sequence[Strategy], whose: str, name: str, text: str) -> Strategy:
    """The strategy that is meant."""
    meant = [one for one in those if whose in ("", one.name)]
    if not meant:
        names = ", ".join(one.name for one in those)
        raise BadInput(f"--set {text}: {whose} is not among the strategies that are to run: {names}")
    having = [one for one in meant if name in one.settings]
    if not having:
        known = "; ".join(f"{one.name} has {one.settings_in_words}" for one in meant)
        raise BadInput(f"--set {text}: there is no setting {name!r}. Of settings {known}")
    if len(having) > 1:
        names = " and ".join(one.name for one in having)
        raise BadInput(f"--set {text}: {names} have a setting {name!r}; say whose, as in --set {having[0].name}.{text}")
    return having[0]


def _read(one: Strategy, name: str, value: str, text: str) -> Value:
    setting = one.settings[name]
    typed, words = _TYPED[setting.type]
    wanted = f"--set {text}: wanted {words} for {name} of {one.name}, such as {setting.default!r}, not {value!r}"
    try:
        read: Value = typed.convert(value, None, None)
    except click.BadParameter as error:
        raise BadInput(wanted) from error
    nothing = setting.type is bool and not value.strip()  # which is "false" to click
    if nothing or (isinstance(read, float) and not math.isfinite(read)):
        raise BadInput(wanted)
    return read


def in_json(value: Value) -> Value:
    """A setting as JSON can hold it: infinity, which some have as "no limit", is the text "inf" there."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
