"""How fast the report's page is: first paint and pointing, beside a page of plotly's.

python experiments/report_page.py RUN [--trials 5000]

The run's trials are spread over the chart until there are so many. Needs Chromium, its driver,
selenium and plotly (``pip install -e '.[dev]'``). Prints bytes, milliseconds to the first paint,
milliseconds a movement of the pointer takes, and their ratios to plotly's page of the same points.
Plotly answers most movements later, outside of what is timed here.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from nas.report.page.content import Content
from nas.report.page.html import render
from nas.run.report import content
from nas.run.run import Run

REPEATS = 5
PAINT = "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
POINT = """
const area = document.querySelector(arguments[0]).getBoundingClientRect();
const begun = performance.now();
for (let step = 0; step < 30; step++) {
  const x = area.left + area.width * (step + 1) / 32, y = area.top + area.height / 2;
  const target = document.elementFromPoint(x, y);
  for (const [Kind, name] of [[PointerEvent, 'pointermove'], [MouseEvent, 'mousemove']])
    target.dispatchEvent(new Kind(name, {clientX: x, clientY: y, bubbles: true}));
  document.body.getBoundingClientRect();
}
return (performance.now() - begun) / 30;
"""


def many(found: Content, count: int) -> Content:
    """The content with so many trials, spread over the chart."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        like = found.trials[number % len(found.trials)]
        x = rng.uniform(found.across.low, found.across.high)
        y = rng.uniform(found.up.low, found.up.high)
        trials.append(replace(like, trial=number, digest=f"{number:020x}", x=x, y=y))
    return replace(found, trials=tuple(trials))


def plotly_page(found: Content) -> str:
    """The same points as plotly writes a page that works offline."""
    points = go.Scatter(
        x=[trial.x for trial in found.trials],
        y=[trial.y for trial in found.trials],
        text=[f"trial {trial.trial}<br>{trial.digest}" for trial in found.trials],
        mode="markers",
    )
    return str(go.Figure(points).to_html(include_plotlyjs=True))


def measure(driver: Chrome, page: str, plot: str) -> tuple[float, float, float]:
    """Bytes, and medians in ms to the first paint and of a movement."""
    paints, moves = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page)
        for _ in range(REPEATS):
            driver.get(file.as_uri())
            while not driver.execute_script(PAINT):
                time.sleep(0.02)
            paints.append(driver.execute_script(PAINT)[0])
            driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", plot)
            moves.append(driver.execute_script(POINT, plot))
    return len(page.encode()), float(np.median(paints)), float(np.median(moves))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--trials", type=int, default=5000)
    arguments = parser.parse_args()
    found = many(content(Run(arguments.run)), arguments.trials)
    options = ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(argument)
    with Chrome(options=options, service=ChromeService(shutil.which("chromedriver"))) as driver:
        ours = measure(driver, render([found]), '[data-chart="r0"]')
        theirs = measure(driver, plotly_page(found), ".plotly")
    print(f"{arguments.trials} trials        bytes  first paint (ms)  a movement (ms)")
    for name, (size, paint, move) in (("nas report", ours), ("plotly", theirs)):
        print(f"{name:12}  {size:11,}  {paint:16.0f}  {move:15.2f}")
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    print(f"ratio         {ratios[0]:11.3f}  {ratios[1]:16.3f}  {ratios[2]:15.3f}")


if __name__ == "__main__":
    main()
