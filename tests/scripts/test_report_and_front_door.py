import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from result_rows import make_row

from paper_repro import __main__ as front_door
from paper_repro import report
from paper_repro import scripts as registry
from paper_repro.core.errors import UserError
from paper_repro.core.runs.coverage import coverage, finished_rows
from paper_repro.core.store.rows import append_row
from paper_repro.core.tables.cells import CellSpec, ResultTable, Wide, build_cells


def fake_table(name, appendix=False, wide=None):
    def table(rows):
        label, match = {"Method": "KIP", "Size": "1"}, {"method": "KIP"}
        cells = build_cells([CellSpec(label, match, needs="a run")], rows)
        more = [ResultTable("More", "", cells)] if appendix else []
        return ResultTable(f"Table {name}", "", cells, appendices=more, wide=wide)

    return SimpleNamespace(SCRIPT=name, table=table, __doc__=f"Script {name}.")


def command(module, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


@pytest.fixture
def results(tmp_path):
    for seed in range(3):
        append_row(tmp_path / "results" / "a.jsonl", make_row(seed=seed))
    return tmp_path / "results"


def test_a_report_is_made_from_nothing_and_again_unchanged(results, tmp_path):
    out, modules = tmp_path / "RESULTS.md", [fake_table("a", True), fake_table("b")]
    written = report.write_report(modules, results, out)
    names = [str(p.relative_to(tmp_path)) for p in written]
    assert names == [
        *("results/a.png", "results/a-appendix1.png", "results/b.png"),
        *("results/pages/a.md", "results/pages/b.md", "RESULTS.md"),
    ]
    text = out.read_text()
    assert "every run: [a](results/pages/a.md)." in text
    assert "39.3 ± 0.0 (n = 3)" in (results / "pages/a.md").read_text()
    assert "## Table a\n" in text and "<!-- begin overview" in text
    assert "![Table a](results/a.png)" in text
    content = [p.read_bytes() for p in written]
    report.write_report(modules, results, out)
    assert [p.read_bytes() for p in written] == content


def test_what_is_written_by_hand_is_kept(results, tmp_path):
    out = tmp_path / "RESULTS.md"
    report.write_report([fake_table("a")], results, out)
    before = "Before \\1 \\g<0> the tables.\n\n"
    out.write_text(before + out.read_text() + "\nAfter them.\n")
    append_row(results / "a.jsonl", make_row(seed=3, test_accuracy=0.5))
    report.write_report([fake_table("a"), fake_table("b")], results, out)
    text, page = out.read_text(), (results / "pages/a.md").read_text()
    assert text.startswith(before)
    assert "\nAfter them.\n\n<!-- begin b" in text
    assert "(n = 4)" in page and "(n = 3)" not in page


def test_tables_share_their_cells(results, tmp_path):
    wide = Wide(("Size",), "Method")
    modules = [fake_table("b", wide=wide), fake_table("a", wide=wide)]
    scripts = report.shown_of(modules, results)
    text = report.report(scripts, results, tmp_path / "RESULTS.md")
    assert text.count("| 1 | 39.3 |") == 2


@pytest.mark.parametrize(
    "text",
    [
        "<!-- begin a (generated) -->",
        "<!-- end a --> <!-- begin a (generated) -->",
        "<!-- begin a (generated) --> <!-- end a --> <!-- end a -->",
    ],
)
def test_broken_markers_are_refused_and_nothing_is_written(results, tmp_path, text):
    out = tmp_path / "RESULTS.md"
    out.write_text(text)
    with pytest.raises(UserError, match=r"RESULTS\.md must hold"):
        report.write_report([fake_table("a")], results, out)
    assert out.read_text() == text
    assert not list(results.glob("*.png")) and not (results / "pages").exists()


def test_check_tells_when_the_report_is_behind_its_rows(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "scripts", lambda: [SimpleNamespace(load=lambda: fake_table("a"))])
    out = tmp_path / "RESULTS.md"
    with pytest.raises(UserError, match="does not show"):
        report.main(results, out, check=True)
    assert not out.exists()
    report.main(results, out)
    report.main(results, out, check=True)
    append_row(results / "a.jsonl", make_row(seed=7, status="failed"))
    with pytest.raises(UserError, match=r"pages/a.md does not show"):
        report.main(results, out, check=True)
    report.main(results, out)
    append_row(results / "a.jsonl", make_row(seed=7))
    with pytest.raises(UserError, match="does not show"):
        report.main(results, out, check=True)


def test_report_without_results_is_one_line_and_exit_code_2(tmp_path):
    done = command("paper_repro.report", "--results", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no directory")
    assert done.stderr.count("\n") == 1


def test_runs_are_counted_and_not_those_of_smoke_runs(tmp_path):
    path = tmp_path / "t.jsonl"
    for seed in range(2):
        append_row(path, make_row(seed=seed))
        append_row(path, make_row(seed=seed, method="LS", config={"m": "LS"}, preset="paper"))
    append_row(path, make_row(config={"s": 0}, architecture="RBF", preset="smoke"))
    append_row(path, make_row(seed=5, architecture="FC2", status="failed"))
    assert len(finished_rows(tmp_path, "t")) == 4
    assert finished_rows(tmp_path, "none") == []


def test_coverage_names_what_sets_cells_apart():
    rows = [
        *(make_row(dataset="b", seed=seed, method="LS", architecture="ConvNet") for seed in (0, 1)),
        make_row(dataset="b", method="KIP", architecture="RBF", kernel="RBF"),
        make_row(dataset="b", method="KIP", architecture="FC1", algorithm="NN"),
        make_row(dataset="b", method="KIP", architecture="FC1", kernel="NNGP"),
        *(make_row(dataset="a", images_per_class=n, zca=zca) for n in (10, 1, 2) for zca in (0, 1)),
        make_row(dataset="a", images_per_class=50, learned_labels=True),
        make_row(dataset="a", images_per_class=50, augmentation=True),
    ]
    assert coverage(rows) == [
        "a 1, 2, 10: KIP ZCA, KIP no ZCA",
        "a 50: KIP fixed labels augmented, KIP learned labels not augmented",
        "b 1: KIP FC1 NNGP, KIP FC1 ntk NN, KIP RBF RBF, LS x2",
    ]
    same = [make_row(architecture="RBF", kernel="RBF"), make_row(architecture="FC1", kernel="NTK")]
    assert coverage(same) == ["CIFAR-10 1: KIP FC1, KIP RBF"]


def test_only_scripts_that_exist_are_listed(monkeypatch):
    ghost = registry.Script("table_that_does_not_exist", "", "", "")
    monkeypatch.setattr(registry, "_SCRIPTS", (*registry._SCRIPTS, ghost))
    assert ghost not in registry.scripts()


def test_the_front_door_answers_and_lists_what_was_run(tmp_path):
    answer = command("paper_repro", "--help")
    assert answer.returncode == 0
    assert "python -m paper_repro.report" in answer.stdout
    for script in registry.scripts():
        append_row(tmp_path / f"{script.name}.jsonl", make_row())
    listing = command("paper_repro", "--results", tmp_path).stdout
    for script in registry.scripts():
        assert f"1 run in {tmp_path}/{script.name}.jsonl (0 at the paper preset)" in listing
        for said in (script.reproduces, script.two_cores, script.gpu):
            assert said in listing
    assert listing.count("                CIFAR-10 1: KIP\n") == len(registry.scripts())
    assert listing.count("\n    one GPU ") == len(registry.scripts())


def test_the_front_door_says_where_there_are_no_results(tmp_path):
    done = command("paper_repro", "--results", tmp_path / "none")
    assert done.returncode == 0
    assert f"No directory {tmp_path / 'none'} is here: name one of result rows" in done.stdout


def test_the_front_door_names_every_runnable_module():
    root = Path(front_door.__file__).parents[1]
    listing = command("paper_repro", cwd=root).stdout
    for package in ("paper_repro", "release"):
        for path in (root / package).rglob("*.py"):
            if path.name != "__init__.py" and '__name__ == "__main__"' in path.read_text():
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts).removesuffix(".__main__")
                assert f"python -m {name} " in listing or name == "paper_repro", name


def test_what_the_gpu_preset_spends_is_what_the_scripts_say():
    for script in registry.scripts():
        budget = script.load().PRESETS["gpu"]
        if "KIP steps" in script.gpu:
            steps = "six" if budget.steps == 6 else f"{budget.steps:,}"
            assert script.gpu.startswith(f"{steps} KIP steps with target batch ")
            assert f"target batch {budget.target_batch:,}, three" in script.gpu
        if "updates" in script.gpu:
            assert f"{budget.network_steps:,} updates" in script.gpu
        if "sets" in script.gpu:
            assert f"{budget.seeds} sets with {budget.networks} networks each" in script.gpu
        else:
            assert budget.seeds == 3


def test_the_front_door_names_a_corrupted_result_file(tmp_path):
    for script in registry.scripts():
        (tmp_path / f"{script.name}.jsonl").write_text("{}\n")
    done = command("paper_repro", "--results", tmp_path)
    assert done.returncode == (2 if registry.scripts() else 0)
    assert "Traceback" not in done.stderr


def test_the_headline_of_a_readme_holds_the_lines_that_were_run(results, tmp_path):
    readme, out = tmp_path / "README.md", tmp_path / "RESULTS.md"
    readme.write_text("before\n<!-- begin headline (generated) -->\n<!-- end headline -->\nafter\n")
    modules = [fake_table(report.HEADLINE, True, Wide(("Size",), "Method")), fake_table("a")]
    assert readme in report.write_report(modules, results, out)
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    head, _, line, *_ = text.split("(generated) -->\n")[1].splitlines()
    assert (head, line) == ("| Size | KIP |", "| 1 | 39.3 |")
    report.write_report(modules, results, out)
    assert readme.read_text() == text


def test_a_readme_without_the_markers_is_left_alone(results, tmp_path):
    (tmp_path / "README.md").write_text("mine\n")
    modules = [fake_table(report.HEADLINE, True)]
    assert tmp_path / "README.md" not in report.write_report(
        modules, results, tmp_path / "RESULTS.md"
    )
    assert (tmp_path / "README.md").read_text() == "mine\n"
