"""The report in a real browser: what a reader can do with it, and that it asks nobody anything.

TRM_SCREENSHOTS=FOLDER keeps the pictures.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_page import (
    PROVENANCE,
    arc_gallery,
    config,
    make_result,
    page_of,
    solved,
    sudoku_gallery,
)
from trm.report.figures import new_figure, save_figure
from trm.scoring.gallery import Gallery, Puzzle, save_gallery

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

__all__ = ["config"]  # a fixture of the page's own tests

SECTION = "section[data-source='{}-{}-seed-0']"
SUDOKUS = SECTION.format("gallery", "puzzle-att")
THINKING = SECTION.format("thinking", "puzzle-att")
MAZES = SECTION.format("gallery", "puzzle-mlp")
TASKS = SECTION.format("gallery", "grids-att")
BOARDS = SECTION.format("gallery", "puzzle-mlp").replace("seed-0", "seed-1")
UNJUDGED = TASKS.replace("seed-0", "seed-1")


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox does not work as root, as which CI runs.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def maze_gallery() -> Gallery:
    """One cell of the path missed, one cell off it, and one through a wall; then a wrong goal."""
    puzzle = Puzzle(
        name="1",
        solved=False,
        question="S.#.#...##.#..G.",
        answer="So#.#oo.##o#..G.",
        answers=["So#.#o.o##oo..G."],
        q=[0.5],
    )
    wrong_goal = puzzle.model_copy(update={"name": "2", "answers": ["So#.#oo.##o#..o."]})
    puzzles = [puzzle, wrong_goal]
    return Gallery(kind="maze", total=2, total_solved=0, side=4, puzzles=puzzles)


def letters_gallery() -> Gallery:
    """Two rows of three letters: one wrong, one without an answer, one given, three filled in."""
    puzzle = Puzzle(
        name="1", solved=False, question="cbaaac", answer="aaabbc", answers=["aab\0bc"], q=[0.5]
    )
    return Gallery(
        kind="boards",
        total=1,
        total_solved=0,
        side=3,
        columns=3,
        characters="abc",
        puzzles=[puzzle],
    )


def arc_thinking() -> Gallery:
    """One task: first no grid, then one that is too wide, then the right one."""
    puzzle = Puzzle(
        name="00576224",
        solved=True,
        question="12/34",
        answer="5/6",
        answers=["", "5555/6666/7777", "5/6"],
        q=[0.0, 0.25, 1.0],
        demonstrations=[("1", "2")],
    )
    return Gallery(kind="arc", total=1, total_solved=1, puzzles=[puzzle])


def kaggle_gallery() -> Gallery:
    """Two tasks whose solutions nobody has; to the second no attempt is a grid."""
    puzzles = [
        Puzzle(name=name, solved=False, question="12/34", answer="", answers=answers, q=[0.5, 0.5])
        for name, answers in (("03560426", ["5/6", "778"]), ("0692e18c", ["", ""]))
    ]
    return Gallery(kind="arc", total=2, total_solved=0, judged=False, puzzles=puzzles)


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    sudoku = make_result(
        tmp_path, "puzzle/att/seed-0", solved(0.94), provenance=json.dumps(PROVENANCE)
    )
    save_gallery(sudoku / "gallery.json", sudoku_gallery(50, failed=(2, 17, 40)))
    thinking = sudoku_gallery(6, failed=(2, 5), steps=8)
    puzzles = [p.model_copy(update={"name": f"10{p.name}"}) for p in thinking.puzzles]
    save_gallery(sudoku / "thinking.json", thinking.model_copy(update={"puzzles": puzzles}))
    for name in ("examples", "learning_curve"):
        save_figure(new_figure(6, 3), sudoku / "figures" / f"{name}.svg", f"some {name}")
    maze = make_result(tmp_path, "puzzle/mlp/seed-0", solved(0.0, 1))
    save_gallery(maze / "gallery.json", maze_gallery())
    letters = make_result(tmp_path, "puzzle/mlp/seed-1", solved(0.0, 1))
    save_gallery(letters / "gallery.json", letters_gallery())
    arc = make_result(tmp_path, "grids/att/seed-0", {"ARC/pass@2": 0.5, "ARC/tasks": 400})
    names = ("00576224, test 1 of 2", "</script><b>bold</b>")
    save_gallery(arc / "gallery.json", arc_gallery(400, names))
    save_gallery(arc / "thinking.json", arc_thinking())
    kaggle = make_result(tmp_path, "grids/att/seed-1", {"ARC/pass@2": 0.5, "ARC/tasks": 2})
    save_gallery(kaggle / "gallery.json", kaggle_gallery())
    save_gallery(kaggle / "thinking.json", kaggle_gallery())
    return [sudoku, maze, letters, arc, kaggle]


@pytest.fixture
def report(results: list[Path], config: Path, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(page_of(results, config), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: sync_api.Browser, report: Path) -> Iterator[sync_api.Page]:
    """The report, opened from its file; in the end: no complaint, and nothing else asked for."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {report.as_uri()}


def opened(page: sync_api.Page, section: str) -> sync_api.Locator:
    """A section, scrolled to, with what its script draws."""
    found = page.locator(section)
    found.scroll_into_view_if_needed()
    found.locator(".card").first.wait_for()
    return found


def names(section: sync_api.Locator) -> list[str]:
    """First line of each card."""
    captions = section.locator("figcaption").all_inner_texts()
    return [text.splitlines()[0].replace("\xa0", " ") for text in captions]


def test_the_overview_leads_to_the_results(page: sync_api.Page) -> None:
    for link in page.locator(".overview a").all():
        link.click()
        target = page.locator(link.get_attribute("href"))
        sync_api.expect(target).to_be_in_viewport()


def test_a_wide_screen_shows_figures_beside_the_metrics(page: sync_api.Page) -> None:
    page.set_viewport_size({"width": 1600, "height": 900})
    article = page.locator("article").first
    metrics, figure = article.locator("table").first, article.locator("figure.drawn").first
    left, right = metrics.bounding_box(), figure.bounding_box()
    assert left["x"] + left["width"] < right["x"]
    assert abs(left["y"] - right["y"]) < 40
    page.set_viewport_size({"width": 420, "height": 900})
    assert metrics.bounding_box()["y"] < figure.bounding_box()["y"]
    assert figure.bounding_box()["x"] < 40


def test_a_filter_changes_what_is_shown(page: sync_api.Page) -> None:
    gallery = opened(page, SUDOKUS)
    assert len(names(gallery)) == 24
    assert "Showing 24 of 50" in gallery.inner_text()
    gallery.get_by_text("failed (3)").click()
    assert names(gallery) == ["Failed ✗ no. 2", "Failed ✗ no. 17", "Failed ✗ no. 40"]
    assert not gallery.locator(".more").is_visible()
    for wanted in ("17", "no. 17", "No.\xa017", "#17"):
        gallery.get_by_role("searchbox").fill(wanted)
        assert names(gallery) == ["Failed ✗ no. 17"]
    gallery.get_by_text("solved (47)").click()
    assert names(gallery) == []
    assert "No puzzle matches" in gallery.inner_text()
    gallery.get_by_role("searchbox").fill("")
    for expected in (24, 47):
        assert len(names(gallery)) == expected
        if expected == 24:
            gallery.get_by_role("button", name="Show 23 more").click()


def test_wrong_cells_are_marked_by_more_than_colour(page: sync_api.Page) -> None:
    gallery = opened(page, SUDOKUS)
    right, wrong = gallery.locator(".card").nth(0), gallery.locator(".card").nth(1)
    assert right.locator("rect.framed, .truth").count() == 0
    assert wrong.locator("rect.framed").count() == 2
    assert wrong.locator(".truth").all_text_contents() == ["2", "1"]
    assert "2 wrong cells" in wrong.inner_text()
    assert wrong.locator(".wrong").all_text_contents() == ["3", "2"]
    maze = opened(page, MAZES).locator(".card").first
    assert maze.locator(".onpath").count() == 3
    assert maze.locator(".missed").count() == 1
    assert maze.locator(".offpath").get_attribute("d").count("M") == 2
    assert "3 wrong cells" in maze.inner_text()


def test_a_board_of_letters_is_written_in_rows(page: sync_api.Page) -> None:
    card = opened(page, BOARDS).locator(".card").first
    assert card.locator(".board").get_attribute("viewBox") == "-.04 -.04 3.08 2.08"
    assert card.locator(".digit").all_text_contents() == ["a", "a", "b", "c"]
    assert card.locator(".clue").all_text_contents() == ["c"]
    assert card.locator("text.wrong").all_text_contents() == ["b", ""]
    assert card.locator("text.truth").all_text_contents() == ["a", "b"]
    assert card.locator(".given").count() == 0


def test_a_wrong_end_of_a_maze_keeps_its_letter(page: sync_api.Page) -> None:
    maze = opened(page, MAZES).locator(".card").nth(1)
    assert maze.locator(".letter").all_text_contents() == ["S", "G"]
    assert maze.locator(".wrong-end").count() == 1
    assert maze.locator(".wrong-end + .letter").text_content() == "G"
    assert maze.locator(".offpath").count() == 0  # no cross over it


def test_the_slider_changes_the_boards(page: sync_api.Page) -> None:
    thinking = opened(page, THINKING)
    slider = thinking.get_by_role("slider", name="Supervision step")
    first = thinking.locator(".board").first
    assert "After step 1 of 8: 0 of 6 right" in thinking.inner_text()
    assert first.locator("rect.framed").count() == 12
    slider.focus()
    page.keyboard.press("End")
    assert "After step 8 of 8: 4 of 6 right" in thinking.inner_text()
    assert slider.get_attribute("aria-valuetext") == "step 8 of 8"
    assert thinking.locator(".board").first.locator("rect.framed").count() == 0
    page.keyboard.press("ArrowLeft")
    assert "After step 7 of 8: 0 of 6 right" in thinking.inner_text()


def test_the_slider_stays_in_sight_down_to_the_last_card(page: sync_api.Page) -> None:
    page.set_viewport_size({"width": 390, "height": 500})
    thinking = opened(page, THINKING)
    thinking.locator(".card").last.evaluate("card => card.scrollIntoView({ block: 'end' })")
    sync_api.expect(thinking.get_by_role("slider")).to_be_in_viewport(ratio=1)
    slider = thinking.locator(".controls").bounding_box()
    assert slider["height"] < 150
    below = "([x, y]) => document.elementFromPoint(x, y).closest('.controls') !== null"
    assert page.evaluate(below, [slider["x"] + 9, slider["y"] + 9])


def test_nothing_moves_while_sudokus_are_stepped_through_on_a_phone(page: sync_api.Page) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    thinking = opened(page, THINKING)
    boxes = []
    for step in ("1", "8"):
        thinking.get_by_role("slider").fill(step)
        boxes.append([card.bounding_box() for card in thinking.locator(".card").all()])
    assert "Right ✓" in thinking.inner_text()
    assert boxes[0] == boxes[1]


def test_nothing_moves_while_an_arc_task_is_stepped_through(page: sync_api.Page) -> None:
    thinking = opened(page, SECTION.format("thinking", "grids-att"))
    slider, boxes, words = thinking.get_by_role("slider"), [], []
    for step in ("1", "2", "3"):
        slider.fill(step)
        card = thinking.locator(".card")
        boxes.append(card.bounding_box())
        words.append(card.locator("figcaption").inner_text().replace("\u202f", " ").split("\n"))
    assert boxes[0] == boxes[1] == boxes[2]
    assert words == [
        ["Wrong ✗ 00576224", "no grid, halting 0 %"],
        ["Wrong ✗ 00576224", "3×4 cells, not 2×1, halting 25 %"],
        ["Right ✓ 00576224", "every cell right, halting 100 %"],
    ]


def test_four_hundred_tasks_open_at_once(page: sync_api.Page) -> None:
    began = time.monotonic()
    page.reload(wait_until="load")
    gallery = opened(page, TASKS)
    print(f"400 tasks: the first cards stand after {time.monotonic() - began:.2f} s")
    timing = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    print(f"load after {page.evaluate(timing):.0f} ms")
    assert gallery.locator(".card").count() == 24
    first = gallery.locator(".card").first
    assert "00576224, test 1 of 2" in first.inner_text()
    assert "attempt 1 ✓" in first.inner_text()
    assert "9 votes" in first.inner_text()
    assert "attempt 2 ✗" in first.inner_text()
    assert "no grid" in first.inner_text()
    wrong = gallery.locator(".card").nth(1)
    assert "</script><b>bold</b>" in wrong.inner_text()
    assert wrong.locator("b").count() == 0
    assert wrong.locator(".struck").count() == 2  # the crosses of attempt 1, black and white


def test_tasks_are_found_by_size_and_by_a_part_of_their_name(page: sync_api.Page) -> None:
    gallery = opened(page, TASKS)
    gallery.get_by_role("searchbox").fill("0000018")
    found = [i for i in range(2, 400) if "0000018" in f"{i:08x}"]
    assert names(gallery) == [f"{'Failed ✗' if i % 2 else 'Solved ✓'} {i:08x}" for i in found]
    gallery.get_by_role("searchbox").fill("")
    gallery.get_by_label("Larger side").select_option("up to 5")
    n_small = sum(3 + i % 28 <= 5 for i in range(400))
    assert f"of {n_small} matching" in gallery.inner_text()


def cell_sizes(section: sync_api.Locator) -> set[int]:
    """Whole pixels per cell of its grids."""
    of_one = "b => b.getBoundingClientRect().width / b.viewBox.baseVal.width"
    return {round(board.evaluate(of_one)) for board in section.locator(".board").all()}


@pytest.mark.parametrize("width", [1200, 390])
def test_the_cells_of_large_grids_can_be_told_apart(page: sync_api.Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    gallery = opened(page, TASKS)
    gallery.get_by_label("Larger side").select_option("26 to 30")
    large = gallery.locator(".card").nth(4)  # of 30x30
    assert cell_sizes(large) == {8}
    large.get_by_role("button", name="Enlarge").click()
    dialog = page.get_by_role("dialog")
    assert cell_sizes(dialog) == ({19} if width == 1200 else {11})
    assert dialog.evaluate("d => d.scrollWidth <= d.clientWidth")
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


@pytest.mark.parametrize("width", [1200, 390])
def test_both_digits_of_a_wrong_cell_are_legible(page: sync_api.Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    wrong = opened(page, SUDOKUS).locator(".card").nth(1)
    of_one = "t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a"
    for digit in wrong.locator(".wrong, .truth").all():
        assert digit.evaluate(of_one) >= 10


def test_a_board_is_enlarged_to_the_screen(page: sync_api.Page) -> None:
    card = opened(page, SUDOKUS).locator(".card").first
    small = card.locator(".board").bounding_box()["width"]
    card.get_by_role("button", name="Enlarge no. 1").click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator(".board").bounding_box()["width"] > 2 * small
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_tasks_without_solutions_are_shown_without_a_verdict(page: sync_api.Page) -> None:
    gallery = opened(page, UNJUDGED)
    assert names(gallery) == ["03560426", "0692e18c"]
    assert gallery.locator(".board").count() == 4  # two inputs, two attempts
    assert gallery.locator(".empty").count() == 2
    assert gallery.inner_text().count("0 votes, no grid") == 2
    assert not gallery.get_by_text("solved (0)").is_visible()
    for word in ("truth", "✓", "✗", "wrong"):
        assert word not in gallery.locator(".cards").inner_text()
    thinking = opened(page, UNJUDGED.replace("gallery", "thinking"))
    assert names(thinking) == ["03560426", "0692e18c"]
    assert "no grid, halting" in thinking.inner_text()


def test_paper_has_the_puzzles_too(page: sync_api.Page) -> None:
    assert page.locator(TASKS).locator(".card").count() == 0
    page.pdf()
    assert page.locator(TASKS).locator(".card").count() == 24


CUT = """[...document.querySelectorAll('.scroll, .picture')]
    .filter(it => it.scrollWidth > it.clientWidth).map(it => it.innerText)"""


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("desktop", 1200, "light"), ("phone", 390, "light"), ("phone-dark", 390, "dark")],
)
def test_it_fits_the_screen(
    browser: sync_api.Browser, report: Path, tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    folder = Path(os.environ.get("TRM_SCREENSHOTS", tmp_path))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(report.as_uri())
    page.screenshot(path=folder / f"{name}-top.png")
    for section in (THINKING, SUDOKUS, MAZES, TASKS):
        shown = opened(page, section)
        shown.evaluate("section => section.scrollIntoView()")
        page.screenshot(path=folder / f"{name}-{section.split(chr(39))[1]}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CUT) == []
    context.close()


def test_on_a_phone_each_number_of_the_overview_has_its_name(page: sync_api.Page) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    row = page.get_by_role("row").filter(has_text="Puzzle <Hard>").first
    cells = row.get_by_role("cell")
    label = "cell => getComputedStyle(cell, '::before').content"
    told = [f"{cell.evaluate(label)} {cell.inner_text()}" for cell in cells.all()]
    assert [text.replace("\u202f", " ").split("\n")[0] for text in told[1:6]] == [
        '"State" done',
        '"Ours" 94.0 %',
        '"95 % interval" 89.8–96.5 % test sample',
        '"Published" 74.7 %',
        '"Difference" +19.3',
    ]
    for cell in cells.all():
        box = cell.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_without_scripts_the_pictures_are_shown(browser: sync_api.Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.get_by_alt_text("some examples").is_visible()
    assert not page.locator(SUDOKUS).is_visible()
    context.close()
