import random

import pytest
from result_rows import make_row

from paper_repro.core.tables.cells import CellSpec, ResultTable, build_cells
from paper_repro.core.tables.published import PublishedFigure

PAPER = PublishedFigure(39.3, 1.6, "somewhere")
SPEC = CellSpec(
    label={"Architecture": "FC1", "Method": "KIP"},
    match={"architecture": "FC1", "method": "KIP", "images_per_class": 1},
    published=PAPER,
    paper_budget="converged",
    needs="two cores",
)


def cell(*rows, spec=SPEC):
    (built,) = build_cells([spec], rows)
    return built


def seeds(*accuracies, **changes):
    return [make_row(seed=s, test_accuracy=a, **changes) for s, a in enumerate(accuracies)]


def test_mean_interval_difference_and_verdict_of_three_seeds():
    built = cell(*seeds(0.38, 0.39, 0.40))
    assert built.ours.mean == pytest.approx(39.0)
    assert built.ours.half_width == pytest.approx(4.302653 * 1.0 / 3**0.5, rel=1e-6)
    assert built.ours.n == 3
    assert built.difference == pytest.approx(-0.3)
    assert built.verdict == "matches"
    assert built.our_budget == ("laptop, 300 steps, target batch 5,000, 45,000 training images")


def test_only_done_rows_that_match_every_field_count():
    rows = [
        *seeds(0.39),
        make_row(seed=1, test_accuracy=0.9, method="KIP (a + l)"),
        make_row(seed=2, test_accuracy=0.9, images_per_class=10),
        make_row(seed=3, test_accuracy=0.9, status="failed"),
    ]
    assert cell(*rows).ours.n == 1


def test_seeds_that_diverged_are_counted_beside_the_mean_of_the_others():
    lost = [make_row(seed=s, test_accuracy=None, status="failed") for s in (1, 2)]
    assert cell(*seeds(0.39), *lost).our_budget.endswith("training images; 2 more seeds diverged")
    other = make_row(seed=3, test_accuracy=None, status="failed", config={"steps": 9})
    repaired = make_row(seed=2, test_accuracy=0.4)
    built = cell(*seeds(0.39), *lost, other, repaired)
    assert (built.ours.n, built.our_budget.split("; ")[1]) == (2, "1 more seed diverged")


def test_one_published_run_is_compared_with_one_more_of_ours():
    def against(accuracy, plus_minus):
        figure = PublishedFigure(accuracy, plus_minus, "somewhere")
        built = cell(*seeds(0.274, 0.274, 0.267), spec=CellSpec({}, SPEC.match, figure))
        return built.verdict

    # Half width 1.0 of the mean 27.17, 2.0 of one more run.
    assert against(26.1, 0.0) == "higher"
    assert against(26.1, None) == against(25.2, None) == "matches"
    assert against(25.0, None) == "higher"


def test_the_largest_budget_present_is_shown():
    config = {preset: {"preset": preset} for preset in ("smoke", "laptop", "gpu", "paper")}
    rows = [make_row(preset=p, config=c, test_accuracy=0.1) for p, c in config.items()]
    random.Random(0).shuffle(rows)
    for preset in ("paper", "gpu", "laptop", "smoke"):
        assert cell(*rows).our_budget.startswith(preset)
        rows = [r for r in rows if r["preset"] != preset]
    assert cell(*rows).verdict == "not run (needs two cores)"


@pytest.mark.parametrize(
    ("preset", "budget", "verdict"),
    [
        ("paper", {}, "lower at the paper's budget"),
        ("laptop", {}, "lower under reduced budget"),
        ("laptop", {"reduced": False}, "lower at the paper's budget"),
        ("paper", {"reduced": True}, "lower under reduced budget"),
    ],
)
def test_a_low_accuracy_is_called_after_its_budget(preset, budget, verdict):
    built = cell(*seeds(0.30, 0.30, preset=preset, budget=budget))
    assert (built.verdict, built.our_budget) == (verdict, preset)


def test_a_smoke_test_is_held_against_no_published_figure():
    assert cell(*seeds(0.30, preset="smoke")).verdict == "smoke test, not to be compared"


def test_seeds_of_one_configuration_count_whatever_their_preset():
    rows = [make_row(preset="laptop", seed=0), make_row(preset="gpu", seed=1)]
    assert rows[0]["config_hash"] == rows[1]["config_hash"]
    built = cell(*rows, {**rows[0], "preset": "gpu"})
    assert (built.ours.n, built.our_budget.split(",")[0]) == (2, "laptop / gpu")


def test_work_counts_before_the_preset_and_the_support_before_the_network():
    def row(name, preset="laptop", kip=(335, 500), network=(64, 500), seeds=1):
        config = {"name": name, "network": {"width": network[0], "steps": network[1]}}
        budget = {"kip_steps": kip[0], "kip_target_batch": kip[1], "name": name}
        return [make_row(preset=preset, config=config, budget=budget, seed=s) for s in range(seeds)]

    first = row("first", seeds=3)
    for better in (
        row("wider", network=(1024, 5_000)),
        row("longer KIP", preset="laptop", kip=(1_000, 5_000), network=(8, 10)),
        row("paper", preset="paper", kip=(1_000, 5_000)),
    ):
        assert better[0]["budget"]["name"] in cell(*first, *better).our_budget
    short = row("short", preset="paper", kip=(6, 5_000))
    assert "first" in cell(*first, *short).our_budget


def test_configurations_are_never_averaged():
    old = seeds(0.1, 0.1, config={"steps": 1}, started="2025-01-01T00:00:00+00:00")
    new = seeds(0.3, 0.3, config={"steps": 2}, started="2025-02-01T00:00:00+00:00")
    assert cell(*old, *new).ours.mean == cell(*new, *old).ours.mean == pytest.approx(30)
    more = [*old, make_row(seed=2, test_accuracy=0.1, config={"steps": 1})]
    assert cell(*more, *new).ours.mean == pytest.approx(10)


def test_a_row_that_stands_in_two_files_counts_once():
    rows = seeds(0.38, 0.40)
    assert cell(*rows, *(r | {"table": "table1_comparison"} for r in rows)).ours.n == 2


def test_budgets_that_differ_between_seeds_show_as_a_range():
    rows = [make_row(seed=s, budget={"steps": 1000 * (s + 1)}) for s in range(3)]
    assert cell(*rows).our_budget == "laptop, 1,000 to 3,000 steps"


def test_published_only_and_unpublished_and_unfinished_cells():
    only = CellSpec({"Method": "DC"}, {"method": "KIP"}, PAPER, published_only=True)
    built = cell(*seeds(0.39), spec=only)
    assert (built.ours, built.difference, built.verdict) == (None, None, "published figure only")
    natural = cell(*seeds(0.39), spec=CellSpec({"Images": "10"}, {"method": "KIP"}))
    assert (natural.difference, natural.verdict) == (None, "no published figure")
    for status, words in (("failed", "failed"), ("interrupted", "the same command resumes")):
        unfinished = cell(make_row(status=status, test_accuracy=None))
        assert unfinished.ours is None
        assert unfinished.verdict.startswith("not run (needs two cores; ")
        assert words in unfinished.verdict
    failed = make_row(status="failed", test_accuracy=None)
    later = make_row(status="interrupted", test_accuracy=None, started="2025-02-01T00:00:00+00:00")
    assert "resumes" in cell(failed, later).verdict and "failed" not in cell(failed, later).verdict


def test_match_takes_alternatives_and_looks_into_objects():
    rows = [make_row(config={"width": w}, test_accuracy=w / 1000) for w in (100, 200)]
    nested = CellSpec({}, {"config.width": 200, "method": ("KIP", "LS"), "dataset": {"CIFAR-10"}})
    assert cell(*rows, spec=nested).ours.mean == pytest.approx(20)
    assert cell(*rows, spec=CellSpec({}, {"config.none.deeper": 1})).ours is None


def test_label_columns_keep_their_order():
    specs = [CellSpec({"A": "1", "B": "2"}), CellSpec({"A": "1", "C": "3"})]
    assert ResultTable("t", "", build_cells(specs, [])).label_columns == ("A", "B", "C")


@pytest.mark.parametrize("spent", [{"n_targets": 60_000}, {"feature_epochs": 30}])
def test_methods_without_steps_count_what_they_saw(spent):
    """A short look at few targets, more seeds or a later one, replaces no whole one."""
    (name,) = spent
    whole = seeds(0.9, config={"name": "whole"}, budget=spent)
    short = seeds(0.5, 0.5, config={"name": "short"}, budget={name: 1}, started="2026-01-01")
    assert cell(*whole, *short).ours.mean == pytest.approx(90)


def test_of_two_evaluations_the_longer_one_is_shown():
    def row(epochs, accuracy):
        evaluation = {"networks": 5, "epochs": epochs}
        return make_row(config={"evaluation": evaluation}, test_accuracy=accuracy, budget={})

    assert cell(row(300, 0.6), row(3, 0.2)).ours.mean == pytest.approx(60)
