"""The report in a real browser: quiet, readable, operable by pointer, finger and keyboard, printable, and safe."""

import csv
import json
import re
import statistics
from types import SimpleNamespace

import pytest
import synthetic
from axe_playwright_python.sync_playwright import Axe

from slaf.compare import load, make_plan, run_plan
from slaf.compare.report.write import page_of

pytestmark = pytest.mark.xdist_group("browser")

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Run folders with a report: of made numbers, of hostile strings, and of a real run."""
    import toy_study  # noqa: F401 - registers the study "toy"

    root = tmp_path_factory.mktemp("reports")
    folders = {name: synthetic.write(root / name, *make()) for name, make in (("usual", synthetic.usual), ("hostile", synthetic.hostile))}
    folders["real"] = root / "real"
    run_plan(make_plan("toy", ["relu", "prelu", "slaf(degree=3)"], 2, "smoke"), folders["real"])
    (folders["real"] / "report.html").write_text(page_of(*load(folders["real"])))
    folders["table"] = root / "table"
    plan = make_plan("table", ["relu", "slaf"], 1, "smoke", {"steps": 10}, given=hostile_table(root / "<b>table</b>.csv"))
    run_plan(plan, folders["table"])
    (folders["table"] / "report.html").write_text(page_of(*load(folders["table"])))
    return folders


def hostile_table(path):
    """A file whose name, columns, categories and classes are markup; its target is ``EVIL[0]``."""
    path.parent.mkdir(exist_ok=True)
    target, column, level, other = synthetic.EVIL
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([column, f"{column}?", target])
        for number in range(60):
            rows.writerow(["" if number == 7 else number % 11 - 5, (level, "plain")[number % 3 > 0], (other, level)[number % 2]])
    return {"data": str(path), "target": target}


@pytest.fixture
def visit(browser, reports):
    """Open a report; whatever the page says or asks for is in ``heard``."""
    contexts = []

    def open_page(name="usual", device=DESKTOP, **options):
        context = browser.new_context(**device, **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page, heard = context.new_page(), []
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: heard.append(f"request: {request.url}"))
        url = (reports[name] / "report.html").as_uri()
        page.goto(url)
        assert heard.pop(0) == f"request: {url}"
        return SimpleNamespace(page=page, heard=heard)

    yield open_page
    for context in contexts:
        context.close()


def test_the_page_stays_small():
    """Eight activations, ten seeds, four places with eight channels each would be 8 MB; what does not fit is said."""
    options, records = synthetic.large()
    page = page_of(options, records)
    assert 1_500_000 < len(page.encode()) < 3_000_000
    drawn = page.count('<article class="learned"')
    assert f"{320 - drawn} more places are in the PNG files" in page
    assert drawn >= 8 * 4, "the first seed of each activation is there whole"
    assert page.count('class="line"') >= 8


def shown(text):
    """A number as the page writes it."""
    return float(text.replace("−", "-"))


def names(page):
    return page.locator(".sortable tbody th code").all_inner_texts()


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["usual", "real"])
def test_it_opens_quietly_and_fits(visit, name, device):
    seen = visit(name, device)
    page = seen.page
    assert page.locator("h1").inner_text()
    assert page.locator("svg.chart").count() >= 4
    for summary in page.locator("summary").all():
        summary.click()
    widths = page.evaluate("[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]")
    assert widths[0] <= widths[1], "the page scrolls sideways"
    assert seen.heard == []


def test_the_table_scrolls_in_its_frame_with_names_in_sight(visit):
    page = visit(device=PHONE).page
    frame = page.get_by_role("region", name="Table of results")
    frame.focus()
    assert frame.evaluate("e => e === document.activeElement && e.scrollWidth > e.clientWidth")
    before = page.locator(".sortable tbody th").first.bounding_box()["x"]
    frame.evaluate("e => { e.scrollLeft = 200 }")
    assert page.locator(".sortable tbody th").first.bounding_box()["x"] == before
    assert page.locator("span.better").first.inner_text() == "▲\u00a0better"


def test_sorting_by_click(visit):
    page = visit().page
    heading = page.locator("thead th", has_text="mean accuracy")
    assert heading.get_attribute("aria-sort") == "descending"
    assert names(page) == ["identity", "slaf(degree=3)", "slaf", "relu"]
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names(page) == ["relu", "slaf", "slaf(degree=3)", "identity"]
    page.get_by_role("button", name="activation", exact=True).click()
    assert names(page) == ["identity", "relu", "slaf", "slaf(degree=3)"]
    assert heading.get_attribute("aria-sort") is None
    page.get_by_role("button", name="relu").click()  # the difference to it, which it does not have itself
    assert names(page)[-1] == "relu"
    page.get_by_role("button", name="relu").click()
    assert names(page)[-1] == "relu"


def test_sorting_by_keyboard(visit):
    page = visit().page
    button = page.get_by_role("button", name="parameters", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    assert names(page) == ["relu", "slaf", "slaf(degree=3)", "identity"]
    page.keyboard.press("Space")
    assert names(page) == ["identity", "slaf(degree=3)", "slaf", "relu"]
    assert page.locator("thead th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert button.evaluate("e => e === document.activeElement")


def losses(reports, epoch):
    """The stored mean loss of each activation."""
    _, records = load(reports["usual"])
    seeds = {}
    for record in records:
        seeds.setdefault(record["activation"], []).append(record["history"]["loss"][epoch - 1])
    return {name: float(f"{statistics.fmean(values):.5g}") for name, values in seeds.items()}


def legend(figure):
    """What the figure's legend says now, by name."""
    return {item.locator("code").inner_text(): shown(item.locator(".value").inner_text()) for item in figure.locator(".legend li").all()}


def test_learning_curves_tell_their_numbers(visit, reports):
    page = visit().page
    figure = page.locator("figure", has=page.get_by_label("Training loss by epoch"))
    chart = figure.locator("svg.chart")
    chart.scroll_into_view_if_needed()
    box, stored = chart.bounding_box(), json.loads(figure.locator("script").text_content())
    left, _, width, _ = stored["box"]
    at = (left + width * 4 / 11) * box["width"] / 440  # epoch 5 of 12
    page.mouse.move(box["x"] + at + 2, box["y"] + box["height"] / 2)
    assert figure.locator(".at").inner_text() == "5"
    assert legend(figure) == losses(reports, 5)
    assert figure.locator(".cursor").is_visible()
    page.mouse.move(0, 0)
    assert not figure.locator(".cursor").is_visible()
    assert figure.locator(".at").inner_text() == "12"
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert legend(figure) == losses(reports, 2)
    assert chart.get_attribute("role") == "slider"
    assert chart.get_attribute("aria-valuetext").startswith("epoch 2: ")
    assert f"slaf {losses(reports, 2)['slaf']:g}" in chart.get_attribute("aria-valuetext")
    page.keyboard.press("End")
    assert legend(figure) == losses(reports, 12)


def test_dots_tell_their_seeds(visit, reports):
    page = visit().page
    figure = page.locator("figure", has=page.get_by_label("Every seed’s accuracy"))
    _, records = load(reports["usual"])
    dots = {(r["activation"], r["seed"]): r["metrics"]["accuracy"] for r in records if r["metrics"]}
    figure.locator("svg.chart").focus()
    told = set()
    for key in ["Home"] + ["ArrowRight"] * (len(dots) - 1):
        page.keyboard.press(key)
        name, seed, value = re.fullmatch(r"(.+), seed (\d+): (.+) %", figure.locator(".readout").inner_text()).groups()
        assert float(value) == pytest.approx(100 * dots[name, int(seed)], rel=1e-9)
        told.add((name, int(seed)))
    assert told == set(dots)
    dot = figure.locator("circle.dot").first
    dot.hover()
    assert figure.locator(".readout").inner_text() == dot.locator("title").text_content()


def first_place(page):
    article = page.locator("article.learned").first
    article.scroll_into_view_if_needed()
    return article


def values(article):
    return [shown(article.locator(f".legend .{name}").inner_text()) for name in ("at", "value >> nth=0", "value >> nth=1")]


def stored_at(reports, channel, x):
    _, records = load(reports["usual"])
    site = next(r for r in records if r["activation"] == "slaf" and r["seed"] == 0)["learned"][0]
    i = site["x"].index(x)
    return [x, site["before"][channel][i], site["after"][channel][i]]


def test_learned_curves_tell_their_numbers(visit, reports):
    page = visit().page
    article = first_place(page)
    chart = article.locator("svg.chart")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + box["height"] / 2)
    pointed = values(article)
    assert pointed == stored_at(reports, 0, pointed[0])
    assert -0.3 < pointed[0] < 0.5
    chart.focus()
    page.keyboard.press("ArrowRight")
    stepped = values(article)
    assert stepped == stored_at(reports, 0, stepped[0])
    assert stepped[0] > pointed[0]
    dot = article.locator(".cursor circle").nth(1).evaluate("e => getComputedStyle(e).fill")
    assert dot == article.locator(".chart use.after").evaluate("e => getComputedStyle(e).stroke")
    page.keyboard.press("Home")
    assert values(article)[0] == -1.525, "the curve begins where its channel's inputs do"


@pytest.mark.parametrize("how", ["click", "Enter", "Space"])
def test_a_neighbour_becomes_the_large_one(visit, reports, how):
    page = visit().page
    article = first_place(page)
    buttons, chart = article.locator(".channels button"), article.locator("svg.chart")
    curve = "a => document.querySelector(a.querySelector('.chart use.after').getAttribute('href')).getAttribute('d')"
    assert buttons.count() == 8
    assert article.locator(".formula:visible").inner_text().endswith("0.5\u202fx +\u00a00.2\u202fx2")
    before = article.evaluate(curve)
    if how == "click":
        buttons.nth(5).click()
    else:
        buttons.nth(5).focus()
        page.keyboard.press(how)
    assert [b.get_attribute("aria-pressed") for b in buttons.all()] == ["true" if i == 5 else "false" for i in range(8)]
    assert article.evaluate(curve) != before
    assert "channel 5" in chart.get_attribute("aria-label")
    assert article.locator(".formula:visible").inner_text().endswith("5.5\u202fx +\u00a00.2\u202fx2")
    chart.focus()
    page.keyboard.press("End")
    told = values(article)
    assert told == stored_at(reports, 5, told[0])


def test_a_finger_reads_values(visit, reports):
    page = visit(device=PHONE).page
    article = first_place(page)
    article.locator("svg.chart").tap()
    told = values(article)
    assert told == stored_at(reports, 0, told[0])
    article.locator(".channels button").nth(3).tap()
    article.locator("svg.chart").tap()
    told = values(article)
    assert told == stored_at(reports, 3, told[0])


def test_other_seeds_unfold(visit):
    page = visit().page
    assert page.locator("article.learned:visible").count() == 4
    summary = page.locator("summary", has_text="Seed 1")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("article.learned:visible").count() == 8
    article = page.locator("details[open] article").last
    article.locator(".channels button").nth(2).click()
    assert "slaf(degree=3), layer 2, channel 2, seed 1" in article.locator("svg.chart").get_attribute("aria-label")


COLOURS = """() => {
  const names = ["paper", "raised", "ink", "soft", "good", "bad", "accent", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
  const probe = document.body.appendChild(document.createElement("i"));
  const rgb = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number) };
  const found = Object.fromEntries(names.map((name) => [name, rgb(name)]));
  probe.remove();
  return found;
}"""


def luminance(rgb):
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_in_both_schemes(visit, scheme):
    page = visit(color_scheme=scheme).page
    light = {name: luminance(rgb) for name, rgb in page.evaluate(COLOURS).items()}
    ground = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    assert (luminance([int(v) for v in re.findall(r"\d+", ground)]) < 0.02) == (scheme == "dark")
    for name, value in light.items():
        if name in ("paper", "raised"):
            continue
        for under in ("paper", "raised"):
            high, low = max(value, light[under]), min(value, light[under])
            assert (high + 0.05) / (low + 0.05) >= (3 if name[0] == "c" else 4.5), f"{name} on {under}"


@pytest.mark.parametrize(("scheme", "device"), [("light", DESKTOP), ("dark", PHONE)], ids=["light-desktop", "dark-phone"])
def test_axe_finds_nothing(visit, scheme, device):
    page = visit(device=device, color_scheme=scheme).page
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}})
    assert found.violations_count == 0, found.generate_report()


def test_nothing_moves_where_motion_is_unwanted(visit):
    page = visit(reduced_motion="reduce").page
    moving = "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0


def test_it_prints_dark_on_white(visit):
    page = visit(color_scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    colours = page.evaluate(COLOURS)
    assert colours["paper"] == [255, 255, 255]
    assert luminance(colours["ink"]) < 0.05
    assert page.locator("summary:visible").count() == 0
    assert page.locator("figure").first.evaluate("e => getComputedStyle(e).breakInside") == "avoid"
    pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", print_background=True)))
    assert 3 <= pages <= 6


def test_it_is_whole_without_a_script(visit):
    seen = visit(java_script_enabled=False)
    page = seen.page
    assert page.locator(".sortable tbody tr").count() == 4
    assert page.locator(".sortable button").count() == 0
    charts = page.locator("svg.chart:visible")
    assert charts.count() == 2 + 4
    assert all(c.bounding_box()["height"] > 100 for c in charts.all())
    assert page.locator(".lead .live:visible").count() == 0
    assert page.locator("circle.dot title").count() == 7
    page.locator("summary").first.click()
    assert charts.count() == 2 + 8
    assert seen.heard == []


def unharmed(seen):
    """Everything opened and pressed, and still nothing but text came of it."""
    page = seen.page
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    page.evaluate("document.querySelectorAll('button').forEach(e => e.click())")
    page.evaluate("document.querySelectorAll('svg.chart').forEach(e => e.dispatchEvent(new KeyboardEvent('keydown', { key: 'End' })))")
    assert seen.heard == []
    assert page.locator("img").count() == 0
    assert page.locator("script:not([type='application/json'])").count() == 1
    handlers = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on')).length"
    assert page.evaluate(handlers) == 0
    return page


def test_markup_in_a_table_is_text(visit):
    page = unharmed(visit("table"))
    said, notes = page.locator("body").inner_text(), page.locator("dd ul").inner_text()
    for evil in synthetic.EVIL[:2]:
        assert evil in notes
    assert f"--target '{synthetic.EVIL[0]}'" in said
    assert "<b>table</b>.csv" in said
    assert page.locator("b", has_text=re.compile("^table$")).count() == 0


def test_markup_from_outside_is_text(visit):
    page = unharmed(visit("hostile"))
    said = page.locator("body").inner_text()
    for evil in synthetic.EVIL:
        assert evil in page.locator("h1").inner_text()
        assert evil in page.locator("dd ul").inner_text(), "a note about the data"
        assert evil in page.get_by_role("region", name="Table of runs without a result").inner_text(), "an error"
        assert said.count(evil) > 5
