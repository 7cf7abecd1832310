"""Run folders made of numbers that no network learned: of any size, and with any string where strings come from outside."""

import json
import math

from slaf.compare import load
from slaf.compare.report.write import page_of

EVIL = ("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>', "</script><script>alert(3)</script>", "'-alert(4)-'")
POINTS, BINS = 161, 48


def rounded(value):
    return float(f"{value:.5g}")


def site(name, channels, tilt=0.0):
    """What a trial tells of one place: ``channels`` curves, each over its own inputs."""
    x = [rounded(-2 + 4 * i / (POINTS - 1)) for i in range(POINTS)]
    shown = list(range(min(channels, 8)))
    before = [rounded(v / (1 + math.exp(-1.7 * v))) for v in x]
    after = [[rounded(b + 0.3 * (c + 1 + tilt) * math.sin(2.1 * v + c)) for v, b in zip(x, before, strict=True)] for c in shown]
    counts = [[round(400 * math.exp(-((i - 20 - c) ** 2) / 90)) for i in range(BINS)] for c in shown]
    return {
        "site": name,
        "activation": "slaf",
        "channels": channels,
        "shown": shown,
        "x": x,
        "before": [before] * len(shown),
        "after": after,
        "ranges": [[-1.5 - 0.05 * c, 1.4 + 0.05 * c] for c in shown],
        "histogram": {
            "edges": [rounded(-2 + 4 * i / BINS) for i in range(BINS + 1)],
            "counts": [sum(column) for column in zip(*counts, strict=True)],
            "by_channel": counts,
        },
        "formula": "0.1 + 0.5*x",
        "formulas": [f"{c}.5*x + 0.2*x**2" for c in shown],
    }


def record(activation, number, seed, sites=0, channels=8, epochs=12, **other):
    accuracy = rounded(0.9 + 0.01 * number + 0.004 * math.sin(3 * seed + number))
    return {
        "study": "digits",
        "activation": activation,
        "seed": seed,
        "budget": "small",
        "lr_factor": 1.0,
        "options": {},
        "model": None,
        "key": f"{activation} {seed}",
        "status": "ok",
        "error": None,
        "metrics": {"accuracy": accuracy},
        "cost": {"threads": 1, "device": "cpu", "params": 3000 + number, "activation_params": number, "train_seconds": 2.5},
        "variance_matched": True,
        "notes": ["300 rows: 240 for training, 60 held out"],
        "history": {"loss": [rounded(2.5 * math.exp(-0.3 * e) + 0.01 * (number + 1) + 0.003 * seed) for e in range(epochs)]},
        "learned": [site(str(2 * k + 1), channels, seed + k) for k in range(sites)],
        "versions": {"slaf": "0", "torch": "0"},
        **other,
    }  # fmt: skip


def run(activations, **view):
    """What ``run.json`` holds."""
    return {
        "fixed": {"study": "digits", "budget": "small", "settings": {"epochs": 12}, "threads": 1, "variance_match": True},
        "view": {
            "activations": activations,
            "reference": activations[0],
            "identity": True,
            "changed": {},
            "modules": [],
            "given": {},
            "primary": "accuracy",
            "direction": "max",
            "title": "Handwritten digits",
            "source": "nowhere",
            "claim": "Nothing is claimed.",
            **view,
        },
    }


def write(folder, options, records):
    """A folder as ``slaf compare`` leaves it, with the page but without the figures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(options))
    (folder / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "report.html").write_text(page_of(*load(folder)))
    return folder


def usual():
    """Four activations, two seeds, two places with eight channels, and one run that broke."""
    names = ["relu", "slaf", "slaf(degree=3)", "identity"]
    records = [record(n, i, s, sites=2 * n.startswith("slaf")) for s in range(2) for i, n in enumerate(names)]
    records[-1] |= {"status": "non-finite", "error": "the loss became NaN", "metrics": {}, "learned": []}
    return run(names), records


def hostile():
    """Markup in every string that comes from outside."""
    names = ["relu", *EVIL]
    records = [record(n, i, s, sites=int(i > 0)) for s in range(2) for i, n in enumerate(names)]
    for number, each in enumerate(records):
        evil = EVIL[number % len(EVIL)]
        each |= {"notes": list(EVIL), "versions": {evil: evil}}
        for place in each["learned"]:
            place |= {"site": evil, "formula": evil, "formulas": [evil] * 8, "shown": [evil] * 8, "activation": evil}
    records[-1] |= {"status": "failed", "error": " ".join(EVIL), "metrics": {}, "learned": []}
    options = run(names, title=" ".join(EVIL), source=EVIL[0], claim=EVIL[1], reference=EVIL[2], given={"data": EVIL[0], "target": EVIL[1]})
    options["fixed"] |= {"model": EVIL[0], "settings": {EVIL[1]: EVIL[2]}, "budget": EVIL[0], "study": EVIL[1]}
    return options, records


def large():
    """Eight activations, ten seeds, four places, eight channels: 2560 curves."""
    names = [f"slaf(degree={d})" for d in range(2, 10)]
    return run(names), [record(n, i, s, sites=4, channels=64, epochs=200) for s in range(10) for i, n in enumerate(names)]
