"""The page in a real browser, opened from disk: no error, no request, and everything works by mouse, finger and keys.

Wants Playwright (the dev extra) and a Chromium: one that Playwright installed (``playwright install chromium``), or one
of the system's on the path. Skips, and says which is missing, otherwise.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.report import build_report, write_report
from depthforge.report.cloud import make_cloud

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright, which the dev extra brings")

SYSTEM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
ASIDE = "-0.450 -0.250 1.150"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        managed = Path(driver.chromium.executable_path)
        found = str(managed) if managed.exists() else next(filter(None, map(shutil.which, SYSTEM)), None)
        if found is None:
            pytest.skip("no Chromium: `playwright install chromium`, or one of the system's on the path")
        # As root a browser refuses its own sandbox; what it opens here is the page alone.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            started = driver.chromium.launch(executable_path=found, args=options)
        except playwright.Error as error:
            pytest.skip(f"the Chromium that is here does not start: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture(scope="module")
def places(made: Path, evil: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of the report of either corpus."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        name: "file://" + write_report(root, build_report(root), folder / f"{name}.html")
        for name, root in (("made", made), ("evil", evil))
    }


class Opened:
    """A page that keeps what went wrong on it, and what it asked for beside itself."""

    def __init__(self, page: Any, place: str) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(place)
        page.wait_for_selector("#cloud-canvas[data-view]")

    @property
    def shown(self) -> list[str]:
        """The keys of the frames that are shown."""
        keys: list[str] = self.page.locator(".frame:visible").evaluate_all("found => found.map(f => f.dataset.key)")
        return keys

    @property
    def view(self) -> str:
        """From where the points are seen, once they are drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found: str = self.page.locator("#cloud-canvas").get_attribute("data-view")
        return found

    @property
    def picture(self) -> str:
        """The canvas as a PNG."""
        found: str = self.page.evaluate("document.getElementById('cloud-canvas').toDataURL()")
        return found

    def drawn(self) -> tuple[int, list[str]]:
        """How many pixels of the canvas points were drawn into, and in which colours."""
        found = self.page.evaluate(
            """() => {
                const copy = document.createElement('canvas'), drawn = document.getElementById('cloud-canvas');
                [copy.width, copy.height] = [drawn.width, drawn.height];
                const context = copy.getContext('2d', { willReadFrequently: true });
                context.drawImage(drawn, 0, 0);
                const { data } = context.getImageData(0, 0, copy.width, copy.height);
                const colours = new Set();
                let count = 0;
                for (let at = 0; at < data.length; at += 4) {
                    if (data[at + 3]) { count++; colours.add(data.slice(at, at + 3).join(' ')); }
                }
                return [count, [...colours]];
            }"""
        )
        return found[0], found[1]


@pytest.fixture
def opened(browser: Any, places: dict[str, str]) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    found = Opened(context.new_page(), places["made"])
    yield found
    assert found.wrong == []
    assert [address for address in found.requests if not address.startswith("data:")] == [places["made"]]
    context.close()


def test_the_gallery_filters_by_split_scene_text_and_holes(opened: Opened) -> None:
    page = opened.page
    assert len(opened.shown) == 6
    page.click("#more")
    assert len(opened.shown) == 12
    assert page.evaluate("document.activeElement.closest('.frame').dataset.key") == opened.shown[6]
    page.click("#more")
    every = opened.shown
    assert len(every) == 16
    assert page.locator("#more").is_hidden()
    page.select_option("#filter-split", "val")
    assert {key.split("/")[1] for key in opened.shown} == {"room-1", "room-3"}
    page.select_option("#filter-split", "")
    page.select_option("#filter-scene", "made/room-2")
    assert opened.shown == [key for key in every if key.startswith("made/room-2/")][:6]
    page.select_option("#filter-scene", "")
    page.fill("#filter-text", "ROOM 0008")
    assert opened.shown == ["made/room-1/0008"]
    page.fill("#filter-text", "")
    page.fill("#filter-most", "12")
    assert opened.shown == ["made/hall-0/0000", "made/hall-0/0001"]
    assert page.inner_text("#shown") == "2 of 2 frames shown, of 16 on this page"
    page.fill("#filter-text", "nowhere")
    assert opened.shown == []


def test_pictures_are_chosen_by_name(opened: Opened) -> None:
    page = opened.page
    assert page.locator("figure[data-picture=rgb]:visible").count() == 6
    page.uncheck("input[name=picture][value=rgb]")
    assert page.locator("figure[data-picture=rgb]:visible").count() == 0
    assert page.locator("figure[data-picture=noisy]:visible").count() == 6


def test_a_frame_is_looked_at_closely_by_keyboard_alone(opened: Opened) -> None:
    page = opened.page
    page.locator(".closer").first.focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#viewer-title") == "made/hall-0/0000"
    assert page.get_attribute("#viewer-picture", "alt") == "noisy of made/hall-0/0000"
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#viewer-picture", "alt") == "clean of made/hall-0/0000"
    page.click("#viewer-next")
    assert page.get_attribute("#viewer-picture", "alt") == "clean of made/hall-0/0001"
    page.click("#viewer-previous")
    page.click("#viewer-previous")
    assert page.inner_text("#viewer-title").startswith("made/room-")
    page.keyboard.press("Escape")
    assert page.locator("#viewer").is_hidden()
    assert page.evaluate("document.activeElement.className") == "closer"
    page.locator(".frame:visible img").nth(3).click()
    assert page.get_attribute("#viewer-picture", "alt") == "rgb of made/hall-0/0000"
    page.click("#viewer-close")


def test_the_points_turn_by_drag_by_keys_and_by_buttons(opened: Opened) -> None:
    page = opened.page
    canvas = page.locator("#cloud-canvas")
    canvas.scroll_into_view_if_needed()
    assert opened.view == ASIDE
    before = opened.picture
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 100 + box["width"] / 4, box["y"] + 100, steps=4)
    page.mouse.up()
    yaw = float(opened.view.split()[0])
    assert yaw == pytest.approx(-0.45 + 3.14159 / 4, abs=0.01)
    assert opened.picture != before
    canvas.focus()
    page.keyboard.press("Home")
    assert opened.view == "0.000 0.000 1.000"
    for key, part, sign in (("ArrowLeft", 0, -1), ("ArrowUp", 1, 1), ("+", 2, -1)):
        was = float(opened.view.split()[part])
        page.keyboard.press(key)
        assert (float(opened.view.split()[part]) - was) * sign > 0, key
    page.click("[data-turn=home]")
    assert opened.view == "0.000 0.000 1.000"
    page.click("[data-turn=farther]")
    assert opened.view == "0.000 0.000 1.150"


def test_the_points_are_those_of_the_frame(opened: Opened, made: Path) -> None:
    """Seen from where the camera was, with steps of one pixel, what is drawn is what was measured."""
    page = opened.page
    page.click("[data-turn=home]")
    key = page.inner_text("#cloud .lead").split()[1].rstrip(",")
    cloud = make_cloud(CorpusReader(made), CorpusReader(made).position(key))
    assert cloud is not None
    shares = {}
    for name in ("noisy", "clean", "real"):
        page.check(f"input[name=cloud-set][value={name}]")
        assert opened.view == "0.000 0.000 1.000"
        shares[name] = opened.drawn()[0]
    measured = {name: float((steps > 0).mean()) for name, steps in cloud.depths.items()}
    assert shares["noisy"] / shares["clean"] == pytest.approx(measured["noisy"] / measured["clean"], abs=0.06)
    assert shares["real"] < shares["clean"]
    page.check("input[name=cloud-paint][value=colour]")
    assert opened.view == "0.000 0.000 1.000"
    assert opened.drawn()[1] == ["200 0 0"]


@pytest.mark.parametrize("name", ["made", "evil"])
def test_a_phone_needs_no_scrolling_sideways(browser: Any, places: dict[str, str], name: str) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 812}, has_touch=True, is_mobile=True)
    opened = Opened(context.new_page(), places[name])
    page = opened.page
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.locator(".closer").first.click()
    assert page.evaluate("document.getElementById('viewer').scrollWidth") <= 375
    box = page.locator("#viewer-next").bounding_box()
    assert box["height"] >= 40
    assert box["y"] + box["height"] <= 812
    assert opened.wrong == []
    context.close()


def test_hostile_names_run_nothing(browser: Any, places: dict[str, str]) -> None:
    context = browser.new_context()
    opened = Opened(context.new_page(), places["evil"])
    page = opened.page
    page.locator(".closer").first.click()
    page.click("#viewer-next")
    page.keyboard.press("Escape")
    page.select_option("#filter-scene", index=1)
    assert page.evaluate("window.evil") is None
    assert "<script>window.evil=1<" in page.inner_text("h1")
    assert opened.wrong == []
    assert [address for address in opened.requests if not address.startswith("data:")] == [places["evil"]]
    context.close()


def test_focus_goes_through_the_page_in_its_order_and_is_seen(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#summary"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    places = []
    for _ in range(30):
        page.keyboard.press("Tab")
        places.append(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert places == sorted(places)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_paper(browser: Any, places: dict[str, str], scheme: str) -> None:
    """Contrast with what it stands on is 4.5 to 1 at least for text, 3 to 1 for lines (WCAG 2.2, AA)."""
    context = browser.new_context(color_scheme=scheme)
    page = Opened(context.new_page(), places["made"]).page
    text, lines = ("--ink", "--quiet", "--accent", "--good"), ("--clean", "--noisy", "--real", "--held", "--other")
    styles = page.evaluate(
        "names => { const s = getComputedStyle(document.documentElement);"
        "return Object.fromEntries(names.map(n => [n, s.getPropertyValue(n).trim()])); }",
        [*text, *lines, "--paper", "--panel", "--warn", "--warn-paper"],
    )
    for name in text:
        for paper in ("--paper", "--panel"):
            assert contrast(styles[name], styles[paper]) >= 4.5, (name, paper)
    for name in lines:
        assert contrast(styles[name], styles["--paper"]) >= 3, name
    assert contrast(styles["--warn"], styles["--warn-paper"]) >= 4.5
    context.close()


def test_who_wants_less_motion_gets_none(browser: Any, places: dict[str, str]) -> None:
    for wanted, found in (("reduce", "auto"), ("no-preference", "smooth")):
        context = browser.new_context(reduced_motion=wanted)
        page = Opened(context.new_page(), places["made"]).page
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == found
        context.close()


def test_without_scripts_everything_but_turning_is_there(browser: Any, places: dict[str, str]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(places["made"])
    assert page.locator(".frame:visible").count() == 16
    assert page.locator("#filters").is_hidden()
    assert page.locator("noscript").count() == 1
    context.close()


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, #rrggbb, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted(map(luminance, (first, second)))
    return (lighter + 0.05) / (darker + 0.05)
