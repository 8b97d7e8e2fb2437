"""The page opened in headless Chromium, and clicked through."""

import json
import re
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from synthetic_results import LEARNERS, made_up_result

from flp_agents.benchmark.report.page import write_report
from flp_agents.benchmark.results import write_result

webdriver = pytest.importorskip("selenium.webdriver")
BROWSER, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER.exists() and DRIVER.exists()),
    reason="needs Chromium: apt-get install chromium chromium-driver",
)
SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,900"
)
NAMES = [row[0] for row in LEARNERS[:9]]
REASON = "TypeError: <b>mine</b> takes no tensors (mine.py, line 12)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds results/report.html, and what the browser downloads."""
    folder = tmp_path_factory.mktemp("report")
    for name in NAMES:
        write_result(folder / "results", made_up_result(name, tasks=2))
    write_result(folder / "results", made_up_result("ridge", seed=1, failure="answered NaN"))
    write_result(folder / "results", made_up_result("mine", failure=REASON))
    write_result(folder / "results", made_up_result("flp", env="FLPSine-IID-v0", tasks=2))
    write_report(folder / "results")
    for result in [made_up_result(name, tasks=2) for name in [*NAMES, "mine"]]:
        # On a made-up environment, where nothing was tuned; mine is the worst of all.
        worse = {name: [value * 1e3 for value in values] for name, values in result.scores.items()}
        result = replace(result, scores=worse) if result.cell.learner == "mine" else result
        write_result(folder / "own", replace(result, stamp={**result.stamp, "tuned_on": "FLPGlyph-Continual"}))
    write_report(folder / "own")
    return folder


@pytest.fixture(scope="module")
def browser(folder):
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for switch in [*SWITCHES.split(), f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(switch)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.chrome.service.Service(str(DRIVER), log_output=str(folder / "driver.log"))
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@contextmanager
def opened(browser, path):
    """A page as it is when it is opened for the first time. Once for each test: it takes seconds of a processor."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get_log("performance")
    browser.get(path.as_uri())
    assert browser.execute_script("return localStorage.length") == 0
    try:
        yield browser
    finally:
        browser.execute_script("localStorage.clear()")
    assert browser.get_log("browser") == []


@pytest.fixture
def page(browser, folder):
    with opened(browser, folder / "results" / "report.html") as page:
        yield page


def find(page, selector):
    return page.find_element("css selector", selector)


def find_all(page, selector):
    return page.find_elements("css selector", selector)


def click(page, selector):
    element = find(page, selector)
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    element.click()
    return element


def heading(page, table, name):
    """The button in the heading of a column."""
    buttons = find_all(page, f"#flpsine-continual-v0 .{table} [data-sort]")
    (button,) = [button for button in buttons if button.text.startswith(name)]
    page.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})", button)
    return button


def column(page, number, table="leaderboard"):
    """Sort keys of a column, as they stand one below the other."""
    rows = find_all(page, f"#flpsine-continual-v0 .{table} tbody tr:first-child > :nth-child({number})")
    return [row.get_dom_attribute("data-value") for row in rows]


def downloaded(folder, name):
    path = folder / "downloads" / name
    wait_until(lambda: path.exists() and path.stat().st_size)
    return path


def wait_until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nothing_is_asked_of_the_network(page, folder):
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert {url for url in asked if url.startswith("file")} == {(folder / "results" / "report.html").as_uri()}


def test_sorted_by_a_click(page):
    button = heading(page, "leaderboard", "prequential score")
    place = page.execute_script("return arguments[0].closest('th').cellIndex + 1", button)
    button.click()
    rising = column(page, place)
    numbers = [float(value) for value in rising if value]
    assert len(numbers) == len(NAMES)
    assert numbers == sorted(numbers)
    assert rising[-1] is None
    assert page.execute_script("return arguments[0].closest('th').ariaSort", button) == "ascending"
    button.click()
    falling = column(page, place)
    assert [float(value) for value in falling if value] == sorted(numbers, reverse=True)
    assert falling[-1] is None
    assert page.execute_script("return arguments[0].closest('th').ariaSort", button) == "descending"
    assert len(find_all(page, "#flpsine-continual-v0 .leaderboard th[aria-sort]:not([aria-sort=none])")) == 1


def test_numbers_are_sorted_as_numbers(page):
    """As text, 1.2e-05 would come behind 0.5, and 1000 before 20."""
    page.execute_script(
        "const keys = ['1.2e-05', '0.5', '20', '1000', '-3'];"
        "[...document.querySelectorAll('#flpsine-continual-v0 .leaderboard tbody tr:first-child > :nth-child(3)')]"
        ".forEach((cell, i) => { if (cell.dataset.value) cell.dataset.value = keys[i % 5]; })"
    )
    heading(page, "leaderboard", "query score").click()
    numbers = [float(value) for value in column(page, 3) if value]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 5


def test_sorted_by_keyboard(page):
    keys = webdriver.Keys
    button = heading(page, "leaderboard", "learner")
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(keys.ENTER)
    names = column(page, 1)
    assert names == sorted(names, key=str.lower)
    page.switch_to.active_element.send_keys(keys.SPACE)
    assert column(page, 1) == names[::-1]
    assert "Sorted by learner, descending." in find(page, "#status").get_property("textContent")


def test_what_failed_stays_below_its_learner(page):
    heading(page, "leaderboard", "learner").click()
    bodies = {
        body.text.split("\n")[0]: body.text for body in find_all(page, "#flpsine-continual-v0 .leaderboard tbody")
    }
    assert "seed 0 failed: " + REASON in bodies["mine own failed"]
    assert "seed 1 failed: answered NaN" in bodies["ridge 1 of 2 failed"]
    assert find_all(page, ".leaderboard b") == []


def test_the_other_table_is_sorted_by_itself(page):
    before = column(page, 1)
    heading(page, "pairs", "difference").click()
    numbers = list(map(float, column(page, 2, "pairs")))
    assert numbers == sorted(numbers)
    assert column(page, 1) == before


def colours(page):
    """Background of the page, and what a figure's text is filled with."""
    text = find(page, "#flpsine-continual-v0-query-loss svg g[style*='--ink']")
    script = "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(arguments[0]).fill]"
    return page.execute_script(script, text)


def test_dark_mode_by_button_is_remembered(page):
    light = colours(page)
    assert light[0] == "rgb(255, 255, 255)"
    click(page, "#theme")
    dark = colours(page)
    assert dark[0] != light[0]
    assert dark[1] != light[1], "the figures do not follow"
    page.refresh()
    assert colours(page) == dark
    click(page, "#theme")
    assert colours(page) == light


def test_dark_mode_by_the_system_and_light_by_button(page):
    light = colours(page)
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    assert colours(page) != light
    click(page, "#theme")
    assert colours(page) == light
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    page.execute_script("document.documentElement.dataset.theme = 'dark'")
    assert colours(page) == light, "paper is white"
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def shown(page):
    return page.execute_script(
        "return [...document.querySelectorAll('#flpsine-continual-v0-step-loss [data-series]')]"
        ".filter((part) => getComputedStyle(part).display !== 'none').map((part) => part.dataset.series)"
    )


def test_curves_are_shown_and_hidden(page):
    first = "#flpsine-continual-v0 .legend"
    assert set(shown(page)) == {str(i) for i in range(7)}
    click(page, f"{first} [data-toggle='0']")
    assert set(shown(page)) == {str(i) for i in range(1, 7)}
    assert find(page, f"{first} [data-toggle='0']").get_dom_attribute("aria-pressed") == "false"
    click(page, f"{first} [data-toggle-all]")
    assert set(shown(page)) == {str(i) for i in range(9)}
    assert not find(page, "#flpsine-iid-v0 [data-toggle-all]").is_displayed(), "there is but one learner"
    click(page, f"{first} [data-toggle-all]")
    assert set(shown(page)) == {str(i) for i in range(7)}


def test_a_figure_as_svg(page, folder):
    click(page, "#theme")  # Downloads are for paper all the same.
    click(page, "#flpsine-continual-v0 .legend [data-toggle='1']")
    click(page, "#flpsine-continual-v0-query-loss [data-save=svg]")
    text = downloaded(folder, "flpsine-continual-v0-query-loss.svg").read_text(encoding="utf-8")
    svg = ElementTree.fromstring(text)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in text
    assert 'fill="#ffffff"' in text
    groups = list(svg.iter("{http://www.w3.org/2000/svg}g"))
    for kind in ("data-series", "data-legend"):
        assert "1" not in {g.get(kind) for g in groups}
    entries = [g for g in groups if g.get("data-legend")]
    # Of the seven best, without the one that was hidden and joint training, which has no such curve.
    assert len({g.get("data-legend") for g in entries}) == 5
    assert len({g.get("transform") for g in entries}) == 5
    _, _, width, height = map(float, svg.get("viewBox").split())
    assert svg.get("width") == f"{width:g}pt"
    original = find(page, "#flpsine-continual-v0-query-loss .canvas svg").get_dom_attribute("viewBox")
    assert height > float(original.split()[3]) + 30, "no room for the legend"
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r'\bid="([^"]+)"', text))


def test_a_figure_as_png(page, folder):
    click(page, "#flpsine-continual-v0-r-matrix-0 [data-save=png]")
    with Image.open(downloaded(folder, "flpsine-continual-v0-r-matrix-0.png")) as picture:
        width = float(find(page, "#flpsine-continual-v0-r-matrix-0 svg").get_dom_attribute("viewBox").split()[2])
        assert picture.width == round(width * 300 / 72)
        pixels = picture.convert("RGB")
        assert pixels.getpixel((2, 2)) == (255, 255, 255)
        assert len(pixels.getcolors(1 << 24)) > 50


@pytest.mark.parametrize(
    ("suffix", "words"), [("tex", r"\toprule"), pytest.param("md", "| --- |", marks=pytest.mark.slow)]
)
def test_tables_to_download(page, folder, suffix, words):
    click(page, "#flpsine-continual-v0 .take summary")
    click(page, f"[data-name='flpsine-continual-v0.{suffix}'] [data-download]")
    text = downloaded(folder, f"flpsine-continual-v0.{suffix}").read_text(encoding="utf-8")
    assert words in text
    assert text == find(page, f"[data-name='flpsine-continual-v0.{suffix}'] pre").get_property("textContent")
    assert "FLP" in text


def test_tables_to_copy(page):
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    click(page, "#flpsine-continual-v0 .take summary")
    button = click(page, "[data-name='flpsine-continual-v0.tex'] [data-copy]")
    wait_until(lambda: button.text.startswith("Copied"))
    copied = page.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert copied == find(page, "[data-name='flpsine-continual-v0.tex'] pre").get_property("textContent")


@pytest.mark.parametrize("width", [320, *(pytest.param(width, marks=pytest.mark.slow) for width in (390, 768))])
def test_no_horizontal_overflow(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    page.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [width, width]


def test_everything_can_be_reached_by_keyboard(page):
    page.execute_script(
        "window.reached = []; addEventListener('focusin', (event) => reached.push(event.target));"
        "document.querySelectorAll('.figures, .cells').forEach((part) => part.remove())"
    )
    find(page, "body").send_keys(webdriver.Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the results"
    page.switch_to.active_element.send_keys(webdriver.Keys.TAB * 120)
    missed = page.execute_script(
        "return [...document.querySelectorAll('button, a[href], summary, .wide, pre')]"
        ".filter((part) => part.checkVisibility() && !reached.includes(part)).map((part) => part.outerHTML)"
    )
    assert missed == []


@pytest.fixture
def own_page(browser, folder):
    """Of nine learners and one that somebody brought, which is the worst."""
    with opened(browser, folder / "own" / "report.html") as page:
        yield page


def test_what_somebody_brought_is_switched_on_and_unfolded(own_page):
    first = find(own_page, ".legend [data-toggle]")
    assert first.text == "mine"
    assert first.get_dom_attribute("aria-pressed") == "true"
    for figure in ("query-loss", "step-loss"):
        assert find(own_page, f"#flpsine-continual-v0-{figure} [data-series='0']").is_displayed()
    assert find(own_page, "#flpsine-continual-v0-r-matrix-0").is_displayed()
    assert find(own_page, "#flpsine-continual-v0-r-matrix-0 figcaption strong").text == "mine"
    assert find_all(own_page, ".leaderboard tbody th")[-1].text.startswith("mine own")


def test_settings_that_were_chosen_elsewhere_are_seen(own_page):
    assert "tuned on FLPGlyph-Continual" in find(own_page, ".leaderboard tbody th").text


def test_the_button_says_what_it_does(page):
    for media, labels in (("light", ["Dark mode", "Light mode"]), ("dark", ["Light mode", "Dark mode"])):
        features = [{"name": "prefers-color-scheme", "value": media}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        page.execute_script("localStorage.clear()")
        page.refresh()
        for label in labels:
            assert find(page, "#theme").text == label
            click(page, "#theme")


def test_columns_out_of_sight_have_a_sign(page):
    """At 1,280 pixels the leaderboard does not fit: what is missing is said, until it is in sight."""
    sign = find(page, "#flpsine-continual-v0 .scroll-sign")
    assert sign.is_displayed()
    assert "scroll" in sign.text
    box = sign.find_element("xpath", "following-sibling::div[1]")
    assert "more-right" in box.get_dom_attribute("class")
    page.execute_script("arguments[0].scrollLeft = arguments[0].scrollWidth", box)
    wait_until(lambda: "more-right" not in box.get_dom_attribute("class"))
    assert "more-left" in box.get_dom_attribute("class")
    clipped = page.execute_script(
        "return [...document.querySelectorAll('.wide')].filter((box) => box.scrollWidth > box.clientWidth + 1"
        " && box.closest('details')?.open !== false && !box.classList.contains('more-right')"
        " && !box.classList.contains('more-left')).length"
    )
    assert clipped == 0
