"""What to cite: the papers and the software, as BibTeX for the card and as CITATION.cff."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from release.card.metadata import made_by, pretty_name
from release.format.publication import Publication

_SPDX = {"apache-2.0": "Apache-2.0"}
"""Identifiers of the Hub whose license has another name in CITATION.cff."""


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper on arXiv."""

    key: str
    title: str
    authors: tuple[tuple[str, str], ...]  # family name, given name
    venue: str
    year: int
    arxiv: str

    @property
    def one_line(self) -> str:
        """Authors, title, venue, year and identifier."""
        authors = ", ".join(family for family, _ in self.authors)
        return f"{authors}. {self.title}. {self.venue}, {self.year}. arXiv:{self.arxiv}"


_PREPRINT = "arXiv preprint"
_PAPERS = (
    Paper(
        "nguyen2021dataset",
        "Dataset Distillation with Infinitely Wide Convolutional Networks",
        (("Nguyen", "Timothy"), ("Novak", "Roman"), ("Xiao", "Lechao"), ("Lee", "Jaehoon")),
        "Advances in Neural Information Processing Systems",
        2021,
        "2107.13034",
    ),
    Paper(
        "nguyen2021metalearning",
        "Dataset Meta-Learning from Kernel Ridge-Regression",
        (("Nguyen", "Timothy"), ("Chen", "Zhourong"), ("Lee", "Jaehoon")),
        "International Conference on Learning Representations",
        2021,
        "2011.00050",
    ),
    Paper(
        "zhao2021gradient",
        "Dataset Condensation with Gradient Matching",
        (("Zhao", "Bo"), ("Mopuri", "Konda Reddy"), ("Bilen", "Hakan")),
        "International Conference on Learning Representations",
        2021,
        "2006.05929",
    ),
    Paper(
        "zhao2021siamese",
        "Dataset Condensation with Differentiable Siamese Augmentation",
        (("Zhao", "Bo"), ("Bilen", "Hakan")),
        "International Conference on Machine Learning",
        2021,
        "2102.08259",
    ),
    Paper(
        "wang2018dataset",
        "Dataset Distillation",
        (
            *(("Wang", "Tongzhou"), ("Zhu", "Jun-Yan")),
            *(("Torralba", "Antonio"), ("Efros", "Alexei A.")),
        ),
        _PREPRINT,
        2018,
        "1811.10959",
    ),
    Paper(
        "sucholutsky2021soft",
        "Soft-Label Dataset Distillation and Text Dataset Distillation",
        (("Sucholutsky", "Ilia"), ("Schonlau", "Matthias")),
        "International Joint Conference on Neural Networks",
        2021,
        "1910.02551",
    ),
    Paper(
        "bohdal2020flexible",
        "Flexible Dataset Distillation: Learn Labels Instead of Images",
        (("Bohdal", "Ondrej"), ("Yang", "Yongxin"), ("Hospedales", "Timothy")),
        "NeurIPS Workshop on Meta-Learning",
        2020,
        "2006.08572",
    ),
)
_REPRODUCED = ("2107.13034", "2011.00050")
"""Those of the kernel that scores every set: cited where no set is of a known method."""


def papers(records: Sequence[Mapping[str, Any]]) -> list[Paper]:
    """The papers of the methods that made the sets."""
    numbers = {number for method in made_by(records) for number in method.papers}
    return [paper for paper in _PAPERS if paper.arxiv in (numbers or _REPRODUCED)]


def bibtex(records: Sequence[Mapping[str, Any]]) -> str:
    """The papers in a fenced block."""
    entries = []
    for paper in papers(records):
        is_preprint = paper.venue == _PREPRINT
        fields = {
            "title": paper.title,
            "author": " and ".join(f"{family}, {given}" for family, given in paper.authors),
            "howpublished" if is_preprint else "booktitle": paper.venue,
            "year": paper.year,
            "url": f"https://arxiv.org/abs/{paper.arxiv}",
        }
        lines = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items())
        kind = "misc" if is_preprint else "inproceedings"
        entries.append(f"@{kind}{{{paper.key},\n{lines}\n}}")
    return "```bibtex\n" + "\n\n".join(entries) + "\n```"


def citation_file(records: Sequence[Mapping[str, Any]], published: Publication) -> str:
    """The text of CITATION.cff for released sets."""
    import yaml

    # CITATION.cff takes the license's SPDX name alone.
    spdx = _SPDX.get(published.license)
    license_field = {"license": spdx} if spdx else {}
    content = {
        "cff-version": "1.2.0",
        "message": "If you use these sets, please cite them with the papers they come from.",
        "type": "dataset",
        "title": pretty_name(records),
        "version": published.version.removeprefix("v"),
        **license_field,
        "url": published.url,
        "authors": [{"name": published.creator}],
        "references": [
            {
                "type": "conference-paper",
                "title": paper.title,
                "authors": [
                    {"family-names": family, "given-names": given}
                    for family, given in paper.authors
                ],
                "year": paper.year,
                "collection-title": paper.venue,
                "conference": {"name": paper.venue},
                "identifiers": [{"type": "other", "value": f"arXiv:{paper.arxiv}"}],
                "url": f"https://arxiv.org/abs/{paper.arxiv}",
            }
            for paper in papers(records)
        ],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
