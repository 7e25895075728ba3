import subprocess
import sys

import pytest

from paper_repro.core.tables import published


def test_every_row_of_every_file_is_read():
    assert [
        len(read())
        for read in (
            published.cheap_kernels,
            published.table1,
            published.table2,
            published.ablation_a3,
            published.coresets,
            published.lenet_alexcifarnet,
            published.official_ls,
            published.official_kip_trajectory,
        )
    ] == [17, 76, 14, 24, 94, 8, 30, 20]


def test_single_figures():
    cell = published.figure(
        published.cheap_kernels(),
        algorithm="KRR",
        architecture="FC1",
        method="KIP",
        support_size=10,
    )
    assert (cell.accuracy_percent, cell.plus_minus, str(cell)) == (39.3, 1.6, "39.3 ± 1.6")
    ls = published.figure(
        published.table1(), dataset="CIFAR-10", images_per_class=10, method="LS ConvNet"
    )
    assert (ls.accuracy_percent, ls.plus_minus, str(ls)) == (53.6, None, "53.6")
    whole = published.figure(
        published.coresets(), dataset="SVHN", images_per_class=None, method="Whole dataset"
    )
    assert whole.accuracy_percent == 95.4
    (row,) = [r for r in published.table2() if (r.dataset, r.images_per_class) == ("CIFAR-10", 10)]
    assert (row.kip_to_nn.accuracy_percent, row.kip_labels_used, row.ls_change_vs_krr) == (
        62.7,
        "fixed",
        -4.3,
    )
    (run,) = [r for r in published.official_kip_trajectory() if r.step == 46500]
    assert (run.dataset, run.test_accuracy, run.test_mse, run.augmentation) == (
        "SVHN",
        0.8196,
        None,
        True,
    )
    assert {r.step for r in published.official_ls()} == {None}


def test_disagreements_of_the_sources_are_kept():
    table1 = published.figure(
        published.table1(), dataset="CIFAR-10", images_per_class=50, method="KIP ConvNet no aug"
    )
    a3 = published.figure(
        published.ablation_a3(),
        field="kip",
        images_per_class=50,
        zca=True,
        learned_labels=True,
        augmentation=False,
    )
    assert (table1.accuracy_percent, a3.accuracy_percent) == (78.2, 78.4)
    dc = [
        published.figure(table, dataset="MNIST", images_per_class=50, method="DC").plus_minus
        for table in (published.table1(), published.coresets())
    ]
    assert dc == [0.1, 0.2]


def test_accuracies_are_percentages_with_a_source():
    figures = [c.figure for c in published.table1() + published.coresets()]
    figures += [c.figure for c in published.cheap_kernels()]
    figures += [r.figure for r in published.official_ls() + published.official_kip_trajectory()]
    assert all(1 < f.accuracy_percent < 100 and f.source for f in figures)


@pytest.mark.parametrize("fields", [{"method": "KIP"}, {"method": "none"}])
def test_a_lookup_that_is_not_unique_is_refused(fields):
    with pytest.raises(LookupError, match="published records match"):
        published.figure(published.cheap_kernels(), **fields)


def test_it_and_the_rows_import_nothing_heavy():
    code = (
        "import sys\n"
        "from paper_repro.core.store import provenance, rows\n"
        "from paper_repro.core.tables import cells, published, statistics, verdict\n"
        "from paper_repro.core.tables.render import markdown, terminal\n"
        "from paper_repro.core import pictures\n"
        "published.table1(), provenance.provenance()\n"
        "print([m for m in ('jax', 'matplotlib', 'scipy', 'rich', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
