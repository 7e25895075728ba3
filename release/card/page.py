"""`index.html`: every set in a browser, from local files alone, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from release.card.metadata import pretty_name
from release.card.tables import interval, percent
from release.format import layout
from release.format.records import preprocessing_of

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-top: 1px solid #8888; padding-top: 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem; text-align: left; border-bottom: 1px solid #8884; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
figure { margin: 1rem 0; }
figcaption { opacity: .75; font-size: .9rem; }
"""


def page(records: Sequence[Mapping[str, Any]], folder: Path, version: str) -> str:
    """The text of index.html.

    Args:
      records: the records of all sets, in the order of their names.
      folder: the release folder, where the pictures are already.
    """
    rows = "\n".join(_row(record) for record in records)
    sets = "\n".join(_set(record, folder) for record in records)
    title = escape(f"{pretty_name(records)}, {version}")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p>Learned images and labels that stand in for a whole training set. Accuracy is that of kernel
ridge regression on the test set, with its 95 % binomial interval.
<a href="{layout.CARD}">{layout.CARD}</a> says how to load and use them.</p>
<table>
<thead><tr>
<th>set</th><th>data</th><th>images</th><th>accuracy, %</th><th>interval</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
{sets}
</body>
</html>
"""


def _row(record: Mapping[str, Any]) -> str:
    name = escape(record["name"])
    n = record["images_per_class"] * record["n_classes"]
    return (
        f'<tr><td><a href="#{name}">{name}</a></td><td>{escape(record["title"])}</td>'
        f'<td class="number">{n:,}</td>'
        f'<td class="number">{percent(record["metrics"]["test_accuracy"])}</td>'
        f"<td>{interval(record)}</td></tr>"
    )


def _set(record: Mapping[str, Any], folder: Path) -> str:
    name = record["name"]
    metrics = record["metrics"]
    labels = "learned" if record["learned_labels"] else "one-hot minus 1/K"
    facts = {
        "data set": record["title"],
        "images": f"{record['images_per_class']} for each of {record['n_classes']} classes",
        "method": record["method"],
        "kernel": f"{record['architecture']} {record['kernel']}",
        "preprocessing": preprocessing_of(record),
        "labels": labels,
        "step": "-" if record["step"] is None else f"{record['step']:,}",
        "KRR test accuracy": f"{percent(metrics['test_accuracy'])} % (95 % interval "
        f"{interval(record)}, {metrics['n_test']:,} test images)",
        "test MSE": f"{metrics['test_mse']:.5f} (0.5 x mean squared error)",
        "made by": record["command"],
    }
    rows = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items()
    )
    shown = record["title"]
    images = _figure(
        folder,
        layout.images_picture(name),
        f"Images of {shown}",
        "Its images, through the inverse of the preprocessing.",
    )
    heatmap = _figure(
        folder, layout.labels_picture(name), f"Labels of {shown}", "Its labels, one row an image."
    )
    return f"""<section id="{escape(name)}">
<h2>{escape(name)}</h2>
<table><tbody>{rows}</tbody></table>
{images}
{heatmap}
</section>"""


def _figure(folder: Path, path: str, alt: str, caption: str) -> str:
    from PIL import Image

    with Image.open(folder / path) as picture:
        width, height = picture.size
    return (
        f'<figure><img src="{escape(path)}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )
