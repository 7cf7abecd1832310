"""The report: complete, self-contained, and safe to open whatever the names were."""

import io
import json
import re

import pytest

from slaf.compare import load, make_plan, run_plan, write_report
from slaf.compare.progress import Lines
from slaf.compare.report.markup import formula_html
from slaf.core import SlafError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    plan = make_plan("toy", ["relu", "tanh", "prelu", "slaf(degree=3)"], 2, "smoke", {"trick": "raise"})
    stream = io.StringIO()
    with Lines(plan, stream) as lines:
        run_plan(plan, folder, on_event=lines)
    assert stream.getvalue().count("\n") == 11
    write_report(folder)
    return folder


def test_it_is_one_page_with_its_figures_beside_it(folder):
    page = (folder / "report.html").read_text()
    assert len(page) < 3_000_000
    names = {p.name for p in folder.glob("*.png")}
    assert {"metric.png", "learning_curves.png"} < names
    assert len([n for n in names if n.startswith("learned-prelu-1-")]) == 2
    assert len([n for n in names if n.startswith("learned-slaf-degree-3-1-")]) == 2
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in folder.glob("*.png"))
    assert not re.search(r'(src|href)="(?!#)|url\(|@import', page), "it needs something outside"
    assert "$" not in re.sub(r"\$dollar", "", re.sub(r"<script>.*?</script>", "", page, flags=re.S)), "a place in the template is empty"
    assert page.count('<svg class="chart" role="img" aria-label="') == page.count('class="chart"') == 2 + 4
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_it_says_what_happened_and_how(folder):
    page = (folder / "report.html").read_text()
    for words in (
        "slaf compare toy -a &#x27;relu,tanh,prelu,slaf(degree=3)&#x27; --seeds 2 --budget smoke",
        "trick=raise", "slaf(degree=3)", "What was learned", "Runs without a result", "identity", "epochs 2", "torch",
    ):  # fmt: skip
        assert words in page


def test_strings_from_outside_are_escaped(folder):
    page = (folder / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>bold</b> & $dollar" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; $dollar" in page


def test_it_is_made_from_stored_results_alone(folder, tmp_path):
    """Names in the files are as untrusted as any: they may come from someone else's folder."""
    evil = "x<img src=x onerror=alert(1)>\"'"
    run, records = load(folder)
    run["view"]["title"] = run["view"]["source"] = evil
    for record in records:
        record["activation"] = record["activation"].replace("tanh", evil)
        record["versions"] = {evil: evil}
        for site in record["learned"]:
            site |= {"site": evil, "formula": evil, "formulas": [evil] * len(site["after"])}
    run["view"]["reference"] = evil
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<img" not in page
    assert 'onerror=alert(1)>"' not in page
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", p.name) for p in tmp_path.iterdir())


def test_a_folder_without_results_has_no_report(tmp_path):
    with pytest.raises(SlafError, match="not a folder of results"):
        write_report(tmp_path)
    run_plan(make_plan("toy", ["relu"], 1, "smoke", identity=False), tmp_path)
    (tmp_path / "results.jsonl").write_text("")
    with pytest.raises(SlafError, match="no finished trial"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("formula", "html"),
    [
        ("0.5*x + 0.2*x**2", "0.5\u202f<i>x</i> +\u00a00.2\u202f<i>x</i><sup>2</sup>"),
        ("exp(x) - 1e-05", "exp(<i>x</i>) −\u00a01·10<sup>-5</sup>".replace("<sup>-", "<sup>−")),
        ("x if x >= 0, else 0.2*x", "<i>x</i> if <i>x</i> ≥ 0, else 0.2\u202f<i>x</i>"),
        ("Max(0, x)", "Max(0, <i>x</i>)"),
        ("<x>", "&lt;<i>x</i>&gt;"),
    ],
)
def test_formulas(formula, html):
    assert formula_html(formula) == html
