"""The report's page in a real headless Chromium, opened from the disk as a user opens it.

Chromium and its driver are Debian's (``apt-get install chromium chromium-driver``); selenium and
axe come with the extra ``dev``. Without them the tests are skipped, with the reason.
"""

import json
import shlex
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from nas.report.page.content import Moment
from nas.report.page.html import render
from nas.report.page.serve import Server
from nas.run.confirm import confirm
from nas.run.report import content
from nas.run.run import Run


def missing():
    """What the tests lack; empty if they can run."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"no {program}: apt-get install chromium chromium-driver"
    return "" if find_spec("selenium") else "no selenium: pip install -e '.[dev]'"


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def browser():
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = shutil.which("chromium")
    with Chrome(options=options, service=ChromeService(shutil.which("chromedriver"))) as driver:
        yield driver


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a confirmed run's report says; its folder has a name that is no plain one."""
    kill = str(Path(__file__).parent.parent / "kill")
    sys.path.insert(0, kill)
    import instant

    folder = tmp_path_factory.mktemp("runs") / '<i>it\'s & "mine"</i>'.replace("/", "")
    run = instant.searched(folder, trials=28)
    confirm(run, top=3, random=6, seeds=1)
    yield content(Run(run.folder))
    sys.path.remove(kill)


@pytest.fixture
def opened(browser, found, tmp_path):
    """The page of the run, opened from the disk; the browser's logs are emptied before."""
    page = tmp_path / "page.html"
    page.write_text(render([found]))
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())
    return browser


def within(browser, selector):
    return browser.find_element("css selector", selector)


def point_at(browser, element):
    from selenium.webdriver import ActionChains

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(browser).move_to_element(element).perform()


def test_it_opens_without_a_request_and_without_a_complaint(opened):
    assert within(opened, "h1").text
    asked = []
    for entry in opened.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert opened.get_log("browser") == []


def test_pointing_at_a_network_tells_of_it_and_a_press_picks_it(opened, found):
    point = found.front[0]
    mark = within(opened, f'.tall .mark[data-trial="{point.trial}"]')
    point_at(opened, mark)
    tip = within(opened, ".tip").text
    digest = next(trial.digest for trial in found.trials if trial.trial == point.trial)
    assert f"trial {point.trial}" in tip
    assert digest in tip
    assert "nas export" in tip
    mark.click()
    told = within(opened, "#r0-detail .told").text
    assert digest in told
    gene = found.choices[0][0]
    assert gene in told


def test_the_command_it_shows_is_one_that_a_shell_takes(opened, found):
    point = found.front[0]
    within(opened, f'.tall .mark[data-trial="{point.trial}"]').click()
    command = within(opened, "#r0-detail .told code").get_attribute("textContent")
    assert shlex.split(command)[:3] == ["nas", "export", f"{found.name}:{point.trial}"]


def test_every_network_is_reached_by_the_keyboard(opened, found):
    from selenium.webdriver.common.keys import Keys

    mark = within(opened, f'.tall .mark[data-trial="{found.front[-1].trial}"]')
    mark.send_keys(Keys.ENTER)
    assert f"Trial {found.front[-1].trial}," in within(opened, "#r0-detail .told").text
    field = within(opened, "#r0-detail input")
    field.clear()
    field.send_keys("7", Keys.TAB)
    assert "Trial 7," in within(opened, "#r0-detail .told").text
    field.clear()
    field.send_keys("999", Keys.TAB)
    assert "no finished trial 999" in within(opened, "#r0-detail .told").text


def test_a_confirmed_network_tells_its_score_under_the_pointer(opened, found):
    mark = within(opened, '.mark[aria-label^="a random network"]')
    point_at(opened, mark)
    assert within(opened, ".tip").text == mark.get_attribute("aria-label")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_axe_has_no_finding_and_nothing_is_wider_than_the_screen(opened, width, scheme):
    axe = find_spec("axe_core_python")
    if axe is None:
        pytest.skip("no axe-core-python: pip install -e '.[dev]'")
    feature = {"name": "prefers-color-scheme", "value": scheme}
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.refresh()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    opened.execute_script((Path(axe.origin).parent / "axe.min.js").read_text())
    report = opened.execute_async_script("axe.run().then(arguments[0])")
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert len(report["passes"]) > 10
    findings = [
        (each["id"], each["impact"], each["nodes"][0]["html"]) for each in report["violations"]
    ]
    assert findings == []


def test_five_thousand_trials_are_few_elements_and_can_be_pointed_at(browser, found, tmp_path):
    page = tmp_path / "many.html"
    page.write_text(render([many_trials(found, 5000)]))
    browser.get(page.as_uri())
    assert browser.execute_script("return document.querySelectorAll('*').length") < 3000
    plot = within(browser, '[data-chart="r0"]')
    point_at(browser, plot)
    assert "trial" in within(browser, ".tip").text
    field = within(browser, "#r0-detail input")
    field.send_keys("4999", "\ue004")
    assert "Trial 4999," in within(browser, "#r0-detail .told").text


def many_trials(found, count):
    """The content with so many trials, spread over the chart."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        like = found.trials[number % len(found.trials)]
        x, y = rng.uniform(found.across.low, found.across.high), rng.beta(8, 2)
        trials.append(replace(like, trial=number, digest=f"{number:020x}", x=x, y=y))
    return replace(found, trials=tuple(trials))


def test_a_served_page_follows_its_run_and_stays_where_the_reader_is(browser, found):
    now = [Moment(stamp="5", line="5 of 9 trials")]
    server = Server(lambda: now[-1], lambda moment: render([found], moment), 0)
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        browser.get(server.address)
        assert within(browser, ".live").text == "5 of 9 trials"
        within(browser, f'.tall .mark[data-trial="{found.front[0].trial}"]').click()
        browser.execute_script("scrollTo(0, 600)")
        told = within(browser, "#r0-detail .told").text
        now.append(Moment(stamp="6", line="6 of 9 trials"))
        # As if the page had been open for a while.
        browser.execute_script("Date.now = () => opened + 2 * RELOAD_AFTER; look()")
        wait(browser, lambda: within(browser, ".live").get_attribute("data-stamp") == "6")
        assert within(browser, "#r0-detail .told").text == told != ""
        assert browser.execute_script("return scrollY") == 600
        server.shutdown()
        thread.join()
    browser.execute_script("look()")
    wait(browser, lambda: "No longer served" in within(browser, ".live").text)


def wait(browser, done):
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    # While it loads, nothing is there to be looked at.
    waiting = WebDriverWait(browser, 10, 0.05, ignored_exceptions=[WebDriverException])
    waiting.until(lambda _: done())
