"""What to cite: the papers and the software, as BibTeX for the card and as CITATION.cff."""

from __future__ import annotations

import dataclasses

from release.format.publication import Publication

_SPDX = {"apache-2.0": "Apache-2.0"}
"""Identifiers of the Hub whose license has another name in CITATION.cff."""


@dataclasses.dataclass(frozen=True)
class Paper:
    """A conference paper on arXiv."""

    key: str
    title: str
    authors: tuple[tuple[str, str], ...]  # family name, given name
    conference: str
    year: int
    arxiv: str

    @property
    def one_line(self) -> str:
        """Authors, title, conference, year and identifier."""
        authors = ", ".join(family for family, _ in self.authors)
        return f"{authors}. {self.title}. {self.conference}, {self.year}. arXiv:{self.arxiv}"


PAPERS = (
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
)


def bibtex() -> str:
    """The papers in a fenced block."""
    entries = []
    for paper in PAPERS:
        fields = {
            "title": paper.title,
            "author": " and ".join(f"{family}, {given}" for family, given in paper.authors),
            "booktitle": paper.conference,
            "year": paper.year,
            "url": f"https://arxiv.org/abs/{paper.arxiv}",
        }
        lines = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items())
        entries.append(f"@inproceedings{{{paper.key},\n{lines}\n}}")
    return "```bibtex\n" + "\n\n".join(entries) + "\n```"


def citation_file(title: str, published: Publication) -> str:
    """The text of CITATION.cff for released sets."""
    import yaml

    # CITATION.cff takes the license's SPDX name alone.
    spdx = _SPDX.get(published.license)
    license_field = {"license": spdx} if spdx else {}
    content = {
        "cff-version": "1.2.0",
        "message": "If you use these sets, please cite them with the papers they come from.",
        "type": "dataset",
        "title": title,
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
                "collection-title": paper.conference,
                "conference": {"name": paper.conference},
                "identifiers": [{"type": "other", "value": f"arXiv:{paper.arxiv}"}],
                "url": f"https://arxiv.org/abs/{paper.arxiv}",
            }
            for paper in PAPERS
        ],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
