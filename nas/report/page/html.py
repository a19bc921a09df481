"""Contents as one HTML page: no request, no library, and readable without its script."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby

from nas.report.axes import robust_range
from nas.report.explain import Change, LayerTime, dearest
from nas.report.page.chart import Chart, Mark, number, shape
from nas.report.page.content import (
    Axis,
    Confirmed,
    Content,
    Course,
    FrontPoint,
    Importance,
    Moment,
    Pick,
    Rung,
    Searched,
)
from nas.units import counted, uncertain

__all__ = ["render"]

MOST_SHOWN = 12
"""Choices by importance; the others are a click away."""
SAVINGS = 5
OPTION = re.compile(r"(?<!\S)--?[\w-]+")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser itself then sees to it that the page asks for nothing."""


def render(contents: Sequence[Content], moment: Moment | None = None) -> str:
    """The page of a run, or of several side by side.

    ``moment``: what is told at its top, if it is served. Such a page asks its server for more.
    """
    contents = _on_common_axes(contents)
    title = " and ".join(content.name for content in contents)
    sections = [
        _section(heading, [make(content, place) for place, content in enumerate(contents)])
        for heading, make in SECTIONS
    ]
    beside = [_beside(contents)] if len(contents) > 1 else []
    own = files(__name__.rpartition(".")[0])
    style, script, follow = (
        own.joinpath(name).read_text("utf-8") for name in ("style.css", "script.js", "live.js")
    )
    policy, strip = POLICY, ""
    if moment is not None:
        policy, script = f"{POLICY}; connect-src 'self'", script + follow
        stamp, line = escape(moment.stamp), escape(moment.line)
        strip = f'<p class="live" role="status" data-stamp="{stamp}">{line}</p>'
    data = json.dumps([_data(content) for content in contents], separators=(",", ":"))
    # A text of the run must not end the element that it stands in.
    data = data.replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>{strip}<main>"
        f"{''.join([*beside, *sections])}</main>"
        f'<script type="application/json" id="data">{data}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def _section(heading: str, bodies: Sequence[str]) -> str:
    if not any(bodies):
        return ""
    columns = "".join(f'<div class="run">{body}</div>' for body in bodies)
    title = f"<h2>{escape(heading)}</h2>" if heading else ""
    return f'<section>{title}<div class="runs n{len(bodies)}">{columns}</div></section>'


def _on_common_axes(contents: Sequence[Content]) -> Sequence[Content]:
    """The contents with the same ends where they show the same figures."""
    metrics = {(content.across.metric, content.up.metric) for content in contents}
    if len(contents) < 2 or len(metrics) > 1:
        return contents
    across = _joint([content.across for content in contents])
    up = _joint([content.up for content in contents])
    return [content.on(across, up) for content in contents]


def _joint(axes: Sequence[Axis]) -> Axis:
    first = axes[0]
    return Axis(
        metric=first.metric,
        label=first.label,
        low=min(axis.low for axis in axes),
        high=max(axis.high for axis in axes),
    )


# -- the parts of text ----------------------------------------------------------------------------


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], label: str, *, prose: bool = False
) -> str:
    """A table of cells that are HTML already; it scrolls by itself where it is too wide.

    ``prose``: its cells are sentences, and may be broken into lines.
    """
    kind = ' class="prose"' if prose else ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    lines = []
    for row in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    body = "".join(lines)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values, both plain text."""
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f'<dl class="facts">{cells}</dl>'


def _command(words: str) -> str:
    # Browsers break a line at a dash, and an option is one word.
    whole = OPTION.sub(r'<span class="whole">\g<0></span>', escape(words))
    return (
        f'<span class="command"><code>{whole}</code>'
        '<button type="button" class="copy">copy</button></span>'
    )


def _more(summary: str, body: str, *, shown: bool = False, paper: bool = True) -> str:
    """What can be folded away, and is unless ``shown``. ``paper``: whether it is printed."""
    is_open = " open" if shown else ""
    kind = "" if paper else ' class="long"'
    return f"<details{is_open}{kind}><summary>{escape(summary)}</summary>{body}</details>"


def _legend(rows: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<li>{shape(kind)} {escape(text)}</li>" for kind, text in rows)
    return f'<ul class="legend">{items}</ul>'


# -- verdict --------------------------------------------------------------------------------------


def _verdict(content: Content, place: int) -> str:
    verdict = content.verdict
    details = "".join(f"<p>{escape(text)}</p>" for text in verdict.details)
    commands = "".join(
        f"<li>{escape(what)}: {_command(words)}</li>" for what, words in verdict.commands
    )
    pick = f'<p class="pick"><b>The pick</b> is {escape(verdict.pick)}.</p>' if verdict.pick else ""
    kind = verdict.claim.replace(" ", "-")
    return (
        f'<header class="verdict {kind}"><p class="title">{escape(content.title)}</p>'
        f'<h1>{escape(verdict.headline)}</h1>{details}{pick}<ul class="next">{commands}</ul>'
        f'<p class="quiet">{escape(content.name)} · {escape(content.state)}</p></header>'
    )


def _beside(contents: Sequence[Content]) -> str:
    """The runs in one table, before each is told by itself."""
    columns = []
    for content in contents:
        spent = sum(part.core_seconds for part in content.spent)
        columns.append(
            [
                content.verdict.headline,
                content.verdict.pick or "none yet",
                content.title,
                content.state,
                str(len(content.front)),
                f"{spent:,.0f}",
            ]
        )
    names = ("verdict", "the pick", "search", "trials", "on the front", "core-seconds")
    rows = [[name, *map(escape, cells)] for name, *cells in zip(names, *columns, strict=True)]
    header = ["", *(content.name for content in contents)]
    table = _table(header, rows, "both runs", prose=True)
    return f"<section><h2>Beside each other</h2>{table}</section>"


# -- the front ------------------------------------------------------------------------------------


def _front(content: Content, place: int) -> str:
    searched = [trial for trial in content.trials if trial.x is not None]
    if not searched:
        return "<p>No network has finished yet.</p>"
    parts = [_searched_chart(content, searched, place), _detail(content, place)]
    parts += [_rung_chart(content, rung) for rung in content.other_rungs]
    if content.confirmed:
        parts.append(_confirmed_chart(content))
    parts.append(_more(f"The front as a table ({len(content.front)})", _front_table(content)))
    return "".join(parts)


def _searched_chart(content: Content, searched: Sequence[Searched], place: int) -> str:
    chart = Chart(
        across=content.across,
        up=content.up,
        label=f"{counted(len(searched), 'network')} as searched, {content.up.label} over "
        f"{content.across.label}",
    )
    points = [(trial.x or 0.0, trial.y or 0.0) for trial in searched]
    front = sorted(content.front, key=lambda point: point.x)
    drawing = chart.dots(points, "searched")
    if content.across.metric:
        ends = [(point.x, point.y) for point in front]
        drawing += chart.steps(ends, "front", content.across.high)
    drawing += "".join(chart.bar(p.x, p.y, p.x_sd, p.y_sd) for p in front)
    marks = [_ring(trial) for trial in searched if trial.began_with]
    marks += [_front_mark(content, point) for point in front]
    legend = [("dot", counted(len(searched), "network")), ("front", f"front ({len(front)})")]
    if any(trial.began_with for trial in searched):
        legend.append(("ring", "published, or its nearest point: the search began there"))
    remark = f"<p>{escape(_capital(content.race))}.</p>" if content.race else ""
    chart_html = chart.html(drawing, marks, points=points, name=f"r{place}", kind="tall")
    return (
        f'<div class="keep"><h3>{escape(_capital(content.searched_as))}: scores on the selection '
        "set</h3>"
        f"{remark}{_legend(legend)}{chart_html}"
        '<p class="quiet">Bars are one standard deviation: of the latency estimate, and of an '
        "accuracy on so many images. Point at a network, press it, or give its number below."
        "</p></div>"
    )


def _rung_chart(content: Content, rung: Rung) -> str:
    """Another rung in a chart of its own, for scores of two lengths of training never meet."""
    low, high = robust_range([y for _, y in rung.points])
    up = Axis(metric=content.up.metric, label=content.up.label, low=low, high=high)
    count = counted(len(rung.points), "network")
    title = f"Rung {rung.number}, trained {rung.factor:g} times as long as the first: {count}"
    chart = Chart(across=content.across, up=up, label=title)
    drawing = chart.dots(rung.points, "searched")
    return f"<h3>{escape(title)}</h3>{chart.html(drawing, points=rung.points, kind='low')}"


def _ring(trial: Searched) -> Mark:
    return Mark(
        x=trial.x or 0.0,
        y=trial.y or 0.0,
        shape="ring",
        label=f"trial {trial.trial}, {trial.began_with}",
        trial=trial.trial,
    )


def _front_mark(content: Content, point: FrontPoint) -> Mark:
    up, across = content.up.label, content.across.label
    label = (
        f"trial {point.trial}, on the front: {up} {uncertain(point.y, point.y_sd)}, "
        f"{across} {uncertain(point.x, point.x_sd)}"
    )
    return Mark(
        x=point.x, y=point.y, shape="front", label=label, trial=point.trial, beside=str(point.trial)
    )


def _detail(content: Content, place: int) -> str:
    """Where the script tells of the trial that is pointed at; before that, how to ask."""
    numbers = [trial.trial for trial in content.trials]
    ends = f'min="{min(numbers)}" max="{max(numbers)}"' if numbers else ""
    return (
        f'<div class="detail" id="r{place}-detail">'
        f'<label>trial <input type="number" inputmode="numeric" {ends} '
        f'data-run="{place}"></label>'
        f'<div class="told" aria-live="polite"></div></div>'
    )


def _confirmed_chart(content: Content) -> str:
    """Scores on *test*: another set of images and a longer training, so a chart of its own."""
    found = content.confirmed
    xs, scores = [each.x for each in found], [each.score for each in found]
    low, high = robust_range(xs, xs)
    across = (
        Axis(metric=content.across.metric, label=content.across.label, low=low, high=high)
        if _far_apart(content, xs)
        else content.across
    )
    reach = [each.score + (each.sd or 0.0) for each in found]
    reach += [each.score - (each.sd or 0.0) for each in found]
    low, high = robust_range(scores, reach)
    label = f"{content.up.metric} on the test set"
    up = Axis(metric=content.up.metric, label=label, low=low, high=high)
    chart = Chart(across=across, up=up, label=f"{len(found)} networks trained anew, {label}")
    drawing = "".join(chart.bar(each.x, each.score, None, each.sd) for each in found)
    shapes = {"front": "diamond", "random": "random", "published": "triangle"}
    marks, legend = [], []
    for kind, text in (
        ("random", "random networks of the same cost"),
        ("published", "published networks at the pick's latency"),
        ("front", "networks of the front"),
    ):
        own = [each for each in found if each.kind == kind]
        if own:
            legend.append((shapes[kind], f"{text} ({len(own)})"))
        marks += [_confirmed_mark(each, shapes[kind]) for each in own]
    return (
        f'<div class="keep"><h3>{escape(_capital(content.confirmed_as))}</h3>'
        f"{_legend(legend)}{chart.html(drawing, marks)}"
        '<p class="quiet">Another set of images and a longer training: these scores are compared '
        f"with each other, and not with the ones above.</p></div>{_met(found)}"
    )


def _met(found: Sequence[Confirmed]) -> str:
    """The published networks that the pick has met, best first."""
    rows = []
    for each in found:
        if each.lead is None or each.interval is None or each.alone is None:
            continue
        intervals = [f"{low:+.3f} to {high:+.3f}" for low, high in (each.alone, each.interval)]
        cells = [escape(each.name), f"{each.x:.1f}", f"{each.score:.3f}", f"{each.lead:+.3f}"]
        rows.append([*cells, *intervals])
    if not rows:
        return ""
    lead = ["the pick's lead", "95 %, by itself", "95 %, all together"]
    header = ["published network", "ms", "on test", *lead]
    return _table(header, rows, "the pick and published networks")


def _far_apart(content: Content, xs: Sequence[float]) -> bool:
    """Whether the confirmed networks do not lie within the front's own axis."""
    return min(xs) < content.across.low or max(xs) > content.across.high


def _confirmed_mark(each: Confirmed, kind: str) -> Mark:
    label = f"{each.name}: {uncertain(each.score, each.sd)} on test at {each.x:.4g}"
    beside = "" if each.trial is None else str(each.trial)
    return Mark(x=each.x, y=each.score, shape=kind, label=label, trial=each.trial, beside=beside)


def _front_table(content: Content) -> str:
    devices = [*content.front[0].latencies] if content.front else []
    timed = {device for point in content.front for device in point.timed}
    headings = []
    for device in devices:
        headings.append(f"{device} ms, predicted")
        if device in timed:
            headings.append(f"timed on {device}, ms")
    rows = []
    for point in content.front:
        cells = [str(point.trial), uncertain(point.y, point.y_sd)]
        for device in devices:
            latency = uncertain(*point.latencies[device])
            cells.append(f"{latency} <small>{100 * point.predicted[device]:.0f} %</small>")
            if device in timed:
                cells.append(uncertain(*point.timed[device]) if device in point.timed else "")
        cells.append("" if point.confirmed is None else f"{point.confirmed:.3f}")
        rows.append(cells)
    header = ["trial", content.up.label, *headings, "on test"]
    return _table(header, rows, "the front")


# -- the search -----------------------------------------------------------------------------------


def _course(content: Content, place: int) -> str:
    charts = "".join(_course_chart(course) for course in content.course if course.steps)
    return f'<div class="small">{charts}</div>' if charts else ""


def _course_chart(course: Course) -> str:
    values = [value for _, value in course.steps]
    low, high = robust_range(values)
    across = Axis(metric="", label="trials finished", low=0, high=max(course.end, 1))
    up = Axis(metric=course.name, label="", low=low, high=high)
    chart = Chart(across=across, up=up, label=f"{course.name} over the trials")
    drawing = chart.steps(course.steps, "front", course.end)
    return (
        f"<div><h3>{escape(course.name)}: {number(float(f'{values[-1]:.4g}'))}</h3>"
        f"{chart.html(drawing)}</div>"
    )


def _importance(content: Content, place: int) -> str:
    remark = f'<p class="quiet">{escape(_capital(content.importance_remark))}.</p>'
    if not content.importance:
        return remark
    shown, others = content.importance[:MOST_SHOWN], content.importance[MOST_SHOWN:]
    longest = max(each.share for each in content.importance) or 1.0
    table = _importance_table(shown, longest)
    if others:
        more = _importance_table(others, longest)
        table += _more(f"The other {counted(len(others), 'choice')}", more)
    return table + remark


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _importance_table(rows: Sequence[Importance], longest: float) -> str:
    cells = []
    for each in rows:
        share = f"{100 * each.share:.1f} ± {100 * each.sd:.1f}"
        cells.append([f"<code>{escape(each.gene)}</code>", _bar(each.share / longest), share])
    return _table(["choice", "", "% of the variance"], cells, "importance of the choices")


def _bar(share: float, kind: str = "") -> str:
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        f'<span class="track"><span class="fill {kind}" style="width:{width:.1f}%"></span></span>'
    )


# -- the pick -------------------------------------------------------------------------------------


def _pick(content: Content, place: int) -> str:
    pick = content.pick
    if pick is None:
        return ""
    latency = uncertain(pick.latency_ms, pick.latency_sd_ms)
    facts = [
        ("network", f"trial {pick.trial}, {pick.digest}"),
        ("latency", f"{latency} ms on {pick.device}"),
        ("size", f"{pick.params / 1e6:.2f} M params, {pick.macs / 1e6:.0f} M multiply-adds"),
        ("chosen", pick.reason),
    ]
    first = [
        f"{layer.stage} {layer.op}, {layer.latency_ms:.3g} ms" for layer in dearest(pick.layers, 3)
    ]
    facts.append(("dearest layers", "; ".join(first)))
    return f"{_facts(facts)}{_strip(pick)}{_layers(pick)}{_swaps(pick)}"


def _strip(pick: Pick) -> str:
    """The network from left to right: a box a layer, as wide as its time."""
    total = sum(layer.latency_ms for layer in pick.layers) or 1.0
    boxes = []
    for place, (stage, layers) in enumerate(groupby(pick.layers, key=lambda layer: layer.stage)):
        parts = [*layers]
        width = 100 * sum(layer.latency_ms for layer in parts) / total
        inner = "".join(
            f'<span class="box" style="flex-grow:{layer.latency_ms:.4f}" '
            f'title="{escape(_layer_text(layer))}"></span>'
            for layer in parts
        )
        name = f"<b>{escape(stage)}</b>" if width > 6 else ""
        boxes.append(
            f'<span class="stage s{place % 2}" style="width:{width:.2f}%">'
            f'<span class="boxes">{inner}</span>{name}</span>'
        )
    label = "the layers of the pick, each as wide as its time; the table below has the figures"
    return f'<div class="strip" role="img" aria-label="{label}">{"".join(boxes)}</div>'


def _layer_text(layer: LayerTime) -> str:
    return f"{layer.op} at {layer.input}: {layer.latency_ms:.3g} ms, {100 * layer.share:.1f} %"


def _layers(pick: Pick) -> str:
    longest = max(layer.latency_ms for layer in pick.layers) or 1.0
    dear = set(map(id, dearest(pick.layers, 3)))
    rows = []
    for layer in pick.layers:
        kind = "dear" if id(layer) in dear else ""
        rows.append(
            [
                escape(layer.stage),
                uncertain(layer.latency_ms, layer.latency_sd_ms),
                _bar(layer.latency_ms / longest, kind),
                f"{100 * layer.share:.1f}",
                f"<code>{escape(layer.op)}</code>",
                escape(layer.output),
                layer.known,
            ]
        )
    # Figures first: on a phone the rest is reached by scrolling.
    header = ["stage", f"{pick.device} ms", "", "%", "layer", "output", "known"]
    table = _table(header, rows, "the layers of the pick")
    return _more(f"Layer by layer ({len(rows)})", table, shown=True)


def _swaps(pick: Pick) -> str:
    """What one change of a gene saves, the largest saving of each gene first."""
    if not pick.changes:
        return ""
    best: dict[str, Change] = {}
    for change in sorted(pick.changes, key=lambda change: change.latency_ms):
        best.setdefault(change.gene, change)
    savings = [change for change in best.values() if change.latency_ms < 0][:SAVINGS]
    if not savings:
        return "<p>No change of one gene makes it faster.</p>"
    first = savings[0]
    share = -100 * first.latency_ms / pick.latency_ms
    text = (
        f"The best single swap: <b>{escape(first.text)}</b> saves "
        f"{uncertain(-first.latency_ms, first.latency_sd_ms)} ms ({share:.0f} %)."
    )
    rows = [_swap_cells(change) for change in savings]
    header = ["gene", "now", "instead", "ms", "params (M)"]
    every = [_swap_cells(change) for change in pick.changes]
    return (
        f"<h3>What one change would save</h3><p>{text} Latencies are exact by the table; what a "
        "change does to the accuracy is not known before a training.</p>"
        f"{_table(header, rows, 'largest savings')}"
        + _more(
            f"All {counted(len(every), 'change')}",
            _table(header, every, "all changes"),
            paper=False,
        )
    )


def _swap_cells(change: Change) -> list[str]:
    sign = "+" if change.latency_ms > 0 else ""
    return [
        f"<code>{escape(change.gene)}</code>",
        escape(change.now),
        escape(change.instead),
        f"{sign}{uncertain(change.latency_ms, change.latency_sd_ms)}",
        f"{change.params / 1e6:+.3f}",
    ]


# -- the rest -------------------------------------------------------------------------------------


def _family(content: Content, place: int) -> str:
    if not content.family:
        return ""
    devices = [*content.family[0].latencies]
    rows = []
    for member in content.family:
        cells = [
            escape(member.name),
            member.resolution,
            f"{member.params / 1e6:.2f}",
            f"{member.macs / 1e6:.0f}",
        ]
        cells += [uncertain(*member.latencies[device]) for device in devices]
        rows.append(cells)
    header = ["member", "input", "params (M)", "macs (M)", *(f"{d} ms" for d in devices)]
    return _table([*map(escape, header)], rows, "the family")


def _spent(content: Content, place: int) -> str:
    rows = []
    for spent in content.spent:
        figures = [f"{spent.trainings}", f"{spent.core_seconds:,.0f}"]
        rows.append([escape(spent.what), *figures])
    total = sum(spent.core_seconds for spent in content.spent)
    rows.append(["<b>together</b>", "", f"<b>{total:,.0f}</b>"])
    return _table(["", "trainings", "core-seconds"], rows, "what it cost") + (
        '<p class="quiet">Wall seconds times threads, failed trainings included. '
        "Energy was not measured.</p>"
    )


def _how(content: Content, place: int) -> str:
    return _facts(content.how)


def _distrust(content: Content, place: int) -> str:
    if not content.distrust:
        return ""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in content.distrust)}</ul>"


Make = Callable[[Content, int], str]
SECTIONS: Sequence[tuple[str, Make]] = (
    ("", _verdict),
    ("The front", _front),
    ("The search's course", _course),
    ("Which choices mattered", _importance),
    ("The pick", _pick),
    ("The family", _family),
    ("What it cost", _spent),
    ("What to distrust", _distrust),
    ("How it was run", _how),
)


# -- what the script needs ------------------------------------------------------------------------


def _data(content: Content) -> Mapping[str, object]:
    """The trials as columns: of thousands, names must not be repeated."""
    names = sorted({name for trial in content.trials for name in trial.figures})
    chart = Chart(across=content.across, up=content.up, label="")
    front = {point.trial: point for point in content.front}
    return {
        "name": content.name,
        "quoted": shlex.quote(content.name),
        "names": names,
        "choices": content.choices,
        "trial": [trial.trial for trial in content.trials],
        "digest": [trial.digest for trial in content.trials],
        "state": [trial.state for trial in content.trials],
        "x": [None if t.x is None else round(chart.left(t.x), 2) for t in content.trials],
        "y": [None if t.y is None else round(chart.top(t.y), 2) for t in content.trials],
        "figures": [[_rounded(t.figures.get(name)) for name in names] for t in content.trials],
        "genes": [trial.genes for trial in content.trials],
        "began": {t.trial: t.began_with for t in content.trials if t.began_with},
        "reason": {t.trial: t.reason for t in content.trials if t.reason},
        "front": {trial: _front_told(content, point) for trial, point in front.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _front_told(content: Content, point: FrontPoint) -> dict[str, str]:
    """What is told of a network of the front, in place of its figures or beside them."""
    told = {}
    if point.y_sd is not None:
        told[content.up.metric] = uncertain(point.y, point.y_sd)
    for device, latency in point.latencies.items():
        shares = f"{100 * point.predicted[device]:.0f} % predicted"
        told[f"latency_ms@{device}"] = f"{uncertain(*latency)}, {shares}"
    for device, latency in point.timed.items():
        told[f"timed on {device}"] = f"{uncertain(*latency)} ms"
    if point.confirmed is not None:
        told["on test, trained anew"] = f"{point.confirmed:.4f}"
    return told
