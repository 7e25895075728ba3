"""The order of the files: those that take minutes first, so that no worker ends alone with one."""

LONG = (
    "test_table_a3_ablation.py",
    "test_notebooks.py",
    "test_table1_comparison.py",
    "test_stopping.py",
    "test_transfer.py",
    "test_network_kernel_properties.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
