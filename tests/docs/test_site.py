"""The generated pages, the code on the hand-written ones, and the whole site, whose links all lead somewhere."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

import slaf
from slaf.core import activations
from slaf.plot import example
from slaf.testing import checks
from slafdocs import contract, figures, pages, walkthrough
from slafdocs.mathml import mathml
from slafdocs.numbers import half_error

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1"}


def plain(element):
    """The text of a formula, fractions as (a)/(b), powers as ^(…)."""
    inside = [plain(child) for child in element]
    if element.tag == "mfrac":
        return f"({inside[0]})/({inside[1]})"
    if element.tag == "msup":
        return f"{inside[0]}^({inside[1]})"
    if element.tag == "msqrt":
        return f"√({''.join(inside)})"
    if element.tag == "mtr":
        return " ".join(inside) + "; "
    return (element.text or "").strip("\u2061") + "".join(inside)


@pytest.mark.parametrize(
    ("formula", "written"),
    [
        ("x*(1 + erf(x/sqrt(2)))/2", "(x⁢(1+erf((x)/(√(2)))))/(2)"),
        ("a - (b - c)", "a−(b−c)"),
        ("a - b - c", "a−b−c"),
        ("a + -b", "a+(−b)"),
        ("-x**2", "−x^(2)"),
        ("(-x)**2", "(−x)^(2)"),
        ("(a*b)**c", "(a⁢b)^(c)"),
        ("(a**b)**c", "(a^(b))^(c)"),
        ("a/(b*c)", "(a)/(b⁢c)"),
        ("a/b*c", "(a)/(b)⁢c"),
        ("2*3", "2·3"),
        ("exp(-x)", "e^(−x)"),
        ("exp(x)**2", "(e^(x))^(2)"),
        ("tanh(x)**2", "tanh(x)^(2)"),
        ("a*expm1(x)", "a⁢(e^(x)−1)"),
        ("log1p(exp(x))", "log(1+e^(x))"),
        ("abs(x)", "|x|"),
        ("alpha_0*x", "α0⁢x"),
        ("1e-9*x", "10^(-9)⁢x"),
        ("where(x > 0, x, where(x <= -1, 0, x**2))", "x if\xa0x>0; 0 if\xa0x≤−1; x^(2) otherwise; "),
    ],
)
def test_formulas_are_typeset_as_written(formula, written):
    assert plain(ET.fromstring(mathml(formula))) == f"f(x)={written}"


def test_every_claimed_formula_is_typeset():
    for name in slaf.list():
        claims = slaf.facts(name)
        if claims.formula:
            typeset = ET.fromstring(mathml(claims.formula))
            assert typeset.tag.endswith("math"), name
            assert plain(typeset).startswith("f(x)="), name
            assert "x" in plain(typeset).removeprefix("f(x)="), name


@pytest.mark.parametrize("name", ["tanh", "gelu", "softsign"])
def test_half_error_agrees_with_numpy(name):
    """The oracle: all float16 numbers by NumPy's own type, one by one, and its own spacing."""
    module = slaf.make(name)
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x) & (np.abs(x) <= 8)]
    got = module.to(torch.float16)(torch.from_numpy(x.copy())).double().numpy()
    exact = module.double()(torch.from_numpy(x.astype(np.float64))).numpy()
    error, at = half_error(slaf.make(name), torch.float16)
    ulps = np.abs(got - exact) / np.abs(np.spacing(exact.astype(np.float16))).astype(np.float64)
    # where rounding carries to the next power of two, NumPy's spacing is of the rounded value
    assert ulps.max() <= error * (1 + 1e-12) <= 2 * ulps.max() + 1e-12
    assert abs(at) <= 8
    assert half_error(slaf.make("relu"), torch.bfloat16)[0] == 0


def test_a_page_holds_what_is_known():
    page = pages.generated(["gelu"])["gallery/gelu.md"]
    for words in (
        'slaf.make("gelu")',
        "0.425221",
        "Gaussian Error Linear Units",
        "from memory" if slaf.facts("gelu").paper.status != "read" else "read",
    ):
        assert words in page
    assert page.count("<svg") == 1
    assert "<math" in page
    assert "\n\n" not in page[page.index("<svg") : page.index("</svg>")]


def test_pages_need_no_edit_for_a_new_entry():
    """A class of one's own, with markup in its words: it is shown, and nothing of it becomes markup."""
    evil = '<img src=x onerror="alert(1)">'
    facts = slaf.Facts(
        name="markup_of_mine",
        formula="x*2",
        summary=evil,
        tags=("</style><b>",),
        paper=slaf.Paper(evil, evil, 2020),
        kinks=(),
        smoothness=1.0,
    )
    slaf.activation(facts)(lambda x: 2 * x)
    try:
        made = pages.generated(["markup_of_mine", "relu"])
        assert set(made) == {"gallery/index.md", "gallery/markup_of_mine.md", "gallery/relu.md"}
        for page in made.values():
            assert "<img" not in page
            assert "</style><b>" not in page
        assert "not checked yet" in made["gallery/markup_of_mine.md"]
    finally:
        activations.unregister("markup_of_mine")


def test_colors_of_the_plot_are_the_pages():
    assert not re.search(r"(?:fill|stroke): ?#(?!777777|ffffff)", figures.plot("gelu", "gelu"))


def test_a_name_that_is_not_there_stops_the_build():
    assert pages.fill("[[relu]]", "choose.md") == "[`relu`](gallery/relu.md)"
    with pytest.raises(slaf.SlafError, match="did you mean 'gelu'"):
        pages.fill("[[gelo]]", "choose.md")
    with pytest.raises(slaf.SlafError, match="did you mean 'checks'"):
        pages.fill("<!-- slaf: cheks -->", "choose.md")


def test_stored_results_are_of_entries_and_checks_that_exist():
    """A new entry needs no edit here: its page says that it is not checked yet. What was renamed or removed has to go."""
    results = json.loads((DOCS / "contract.json").read_text(encoding="utf-8"))
    entries = {name.partition("(")[0] for name in results["entries"]}
    stale = sorted((entries - set(slaf.list())) | (set(results["checks"]) - set(checks())))
    assert not stale, f"docs/contract.json is out of date ({', '.join(stale)}): {results['command']}"
    for name, entry in results["entries"].items():
        told = sum(len(entry.get(s, {})) for s in ("failed", "xfailed", "skipped"))
        assert told + entry["counts"]["passed"] == len(results["checks"]), name


def test_peers_are_shown_by_check(monkeypatch):
    counts = {"vmap": {"passed": 3, "failed": 1, "skipped": 0}}
    collection = {"title": "<peer>", "entries": 4, "checks": counts}
    found = {"checks": ["vmap"], "collections": {"peer": collection}, "command": "x", "torch": "2", "limit": None}
    monkeypatch.setattr(contract, "load", lambda _: found)
    table = contract.peers_table()
    assert "3 of 4" in table
    assert "&lt;peer&gt;" in table


def blocks(page, title=None):
    """The Python blocks of a page, those with a file name apart."""
    found = re.findall(
        r"^```python(?: title=\"([^\"]*)\")?\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [code for name, code in found if (name or None) == title]


def test_code_on_the_pages_runs(tmp_path):
    """In one process, one after the other, warnings being errors."""
    codes = [*blocks("add_your_own.md"), *blocks("index.md"), *blocks("fit.md"), *blocks("surgery.md"), *blocks("kan.md")]
    assert len(codes) == 19
    script = tmp_path / "blocks.py"
    script.write_text("\n".join(codes), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves.svg").exists()


def test_the_test_on_the_page_passes_under_pytest(tmp_path):
    (code,) = blocks("add_your_own.md", "test_my_activations.py")
    (tmp_path / "test_my_activations.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_activations.py"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed, 1 xfailed", done.stdout), done.stdout


NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")


def alike(shown, printed):
    """The same words, and numbers of the same size: the last digits of what was trained depend on the machine."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (shown, printed)]
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (shown, printed)]
    return words[0] == words[1] and all(abs(a - b) <= 0.4 * max(abs(a), abs(b)) + 0.1 for a, b in zip(*numbers, strict=True))


def test_numbers_on_a_page_may_differ_a_little_and_words_not():
    assert alike("drift 7.75e-03, [-2.2, 2.1]", "drift 6.9e-03,  [-2.1, 2.3]")
    assert not alike("9 of 500 wrong", "90 of 500 wrong")
    assert not alike("6 batch norms", "6 norms")


@pytest.mark.parametrize("page", ["tutorial.md"])
def test_a_walkthrough_runs_and_prints_what_the_page_says(page, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("onnxruntime")
    markdown = (DOCS / page).read_text(encoding="utf-8")
    script = tmp_path / "walkthrough.py"
    script.write_text(walkthrough.program(markdown), encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    said = walkthrough.split(done.stdout)
    for number, (shown, printed) in enumerate(zip(walkthrough.printed(markdown), said, strict=True)):
        assert alike(shown, printed), f"block {number + 1} prints\n{printed}"
    assert (tmp_path / "digits.onnx").exists()


def test_a_walkthrough_gets_the_outputs_that_its_blocks_print(tmp_path):
    page = "```python\na = 1\nprint(a)\n```\n\n```text\nold\n```\n\n```python\nb = a + 1\n```\n\n```python\nprint(b)\n```\n\nEnd.\n"
    outputs, variables = walkthrough.run(page, tmp_path)
    assert (outputs, variables["b"]) == (["1\n", "", "2\n"], 2)
    made = walkthrough.filled(page, outputs)
    assert walkthrough.printed(made) == outputs
    assert walkthrough.filled(made, outputs) == made
    assert walkthrough.codes(made) == walkthrough.codes(page)


def test_the_readme_swaps_and_exports(tmp_path):
    """The block under its heading, by itself."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme.partition("## Change the activation")[2].partition("\n## ")[0], re.DOTALL)
    (tmp_path / "block.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "error", "block.py"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"model.onnx", "model.h"} <= {path.name for path in tmp_path.iterdir()}


class Links(HTMLParser):
    """What a page refers to, and what it can be referred to by."""

    def __init__(self, path):
        super().__init__()
        self.to, self.fetched, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.to.append(given["href"])
        loads = {"script": "src", "img": "src", "link": "href", "iframe": "src"}.get(tag)
        if loads and given.get(loads) and given.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(given[loads])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole site, built as its script does."""
    pytest.importorskip("mkdocs")
    out = tmp_path_factory.mktemp("site")
    command = [ROOT / "scripts" / "build-docs", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.xdist_group("site")
def test_the_site_has_a_page_for_every_entry(site):
    assert {p.stem for p in (site / "gallery").glob("*.html")} == {*slaf.list(), "index"}
    gallery = (site / "gallery" / "index.html").read_text(encoding="utf-8")
    assert gallery.count('class="slaf-card"') == len(slaf.list())
    assert example("relu") == "relu"
    layers = (site / "layers.html").read_text(encoding="utf-8")
    assert all(f'<h2 id="{name.lower()}">' in layers for name in slaf.layers.__all__)
    assert layers.count('class="slaf-plot"') == len(slaf.layers.__all__)


@pytest.mark.xdist_group("site")
def test_every_link_leads_somewhere_and_nothing_comes_from_elsewhere(site):
    found = {path: Links(path) for path in site.rglob("*.html")}
    for path, links in found.items():
        if path.name == "404.html":  # its links are absolute: it is served anywhere
            continue
        assert not [u for u in links.fetched if "//" in u], path
        for target in (*links.to, *links.fetched):
            if re.match(r"(?:https?|mailto):", target):
                continue
            name, _, anchor = target.partition("#")
            there = (path.parent / name).resolve() if name else path
            assert there.exists(), f"{path.name}: {target}"
            if anchor and there in found and anchor != "__skip":
                assert anchor in found[there].ids, f"{path.name}: {target}"
