"""The drawings on Progress. Colors are the theme's own; names are data, so nothing in them is ever interpreted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labelloop.metrics import ENOUGH, wilson
from labelloop.project import Measured
from labelloop.ui.words import local_time

if TYPE_CHECKING:
    import altair as alt

KINDS = {"head": "after each few labels", "fine-tune": "fine-tuned"}
QUIET = "#858c99"  # for figures on a light and on a dark ground
BAR = 26  # pixels for one class


def learning_curve(models: Sequence[Measured]) -> alt.LayerChart:
    """How often the model was right over the number of labels, with its 95 % interval; needs one model or more."""
    import altair as alt
    import pandas as pd

    table = pd.DataFrame([{"order": order, **_point(model)} for order, model in enumerate(models)])
    scale = alt.Scale(domain=[math.floor(10 * table["low"].min()) / 10, 1])
    labels = alt.X("labels:Q", title="labels the model learned from", axis=alt.Axis(tickMinStep=1, grid=False))
    share = alt.Y("right:Q", title=None, scale=scale, axis=alt.Axis(format="%", tickCount=5))
    tips = [alt.Tooltip(f"{name}:N") for name in ("when", "model", "labels", "on exam images")]
    base = alt.Chart(table)
    in_use = base.transform_filter("datum.used")
    band = in_use.mark_area(opacity=0.16).encode(x=labels, y=alt.Y("low:Q", title=None, scale=scale), y2="high:Q")
    line = in_use.mark_line(strokeWidth=2).encode(x=labels, y=share, order="order:Q")
    shape = alt.Shape(
        "model:N",
        scale=alt.Scale(domain=list(KINDS.values()), range=["circle", "diamond"]),
        legend=alt.Legend(title=None, orient="top") if len({model.kind for model in models}) > 1 else None,
    )
    points = base.mark_point(filled=True, opacity=1).encode(
        x=labels,
        y=share,
        shape=shape,
        size=alt.condition("datum.used", alt.value(45), alt.value(25)),
        opacity=alt.condition("datum.used", alt.value(1.0), alt.value(0.4)),
        tooltip=tips,
    )
    return alt.LayerChart(layer=[band, line, points]).properties(height=320)


def _point(model: Measured) -> dict[str, object]:
    low, high = wilson(model.exam_correct, model.exam_n)
    share = model.exam_correct / model.exam_n
    return {
        "labels": model.labels,
        "right": share,
        "low": low,
        "high": high,
        "used": model.in_charge,
        "model": KINDS[model.kind],
        "when": local_time(model.at),
        "on exam images": f"{model.exam_correct} of {model.exam_n} ({share:.0%}, {low:.0%} to {high:.0%})",
    }


def worth_drawing(models: Sequence[Measured]) -> list[Measured]:
    """Those measured on enough images for a number."""
    return [model for model in models if model.exam_n >= ENOUGH]


def class_bars(classes: Sequence[str], counts: Sequence[int]) -> alt.LayerChart:
    """Labels of each class, one bar each, in the order of the classes."""
    import altair as alt
    import pandas as pd

    table = pd.DataFrame({"class": list(classes), "labels": list(counts)})
    names = alt.Axis(labelLimit=170, labelOverlap=False, ticks=False, domain=False, labelPadding=8)
    order = alt.Y("class:N", title=None, axis=names, scale=alt.Scale(domain=list(classes)))
    amount = alt.X("labels:Q", axis=None, scale=alt.Scale(domain=[0, max(1, *counts) * 1.12]))
    base = alt.Chart(table).encode(y=order, x=amount)
    bars = base.mark_bar(cornerRadiusEnd=3, size=15).encode(tooltip=["class:N", "labels:Q"])
    figures = base.mark_text(align="left", dx=6, color=QUIET).encode(text=alt.Text("labels:Q", format=","))
    return alt.LayerChart(layer=[bars, figures]).properties(height=len(classes) * BAR + 12)


def loss_curve(loss: Sequence[float]) -> alt.Chart:
    """The error on the training images in each round, which are numbered from 1."""
    import altair as alt
    import pandas as pd

    table = pd.DataFrame({"round": range(1, len(loss) + 1), "error": list(loss)})
    few = alt.Axis(tickMinStep=1, tickCount=6, grid=False)
    rounds = alt.X("round:Q", title=None, axis=few, scale=alt.Scale(domain=[1, len(loss)]))
    error = alt.Y("error:Q", title=None, axis=alt.Axis(tickCount=3))
    tips = [alt.Tooltip("round:Q"), alt.Tooltip("error:Q", format=".3f")]
    line = alt.Chart(table).mark_line(point=True, strokeWidth=2).encode(x=rounds, y=error, tooltip=tips)
    chart: alt.Chart = line.properties(height=130)
    return chart
