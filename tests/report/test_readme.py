"""Is the README's headline that of the report which it quotes?"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_quotes_the_report():
    lines = (ROOT / "docs" / "reports" / "512g" / "report.md").read_text().splitlines()
    [headline, *_] = [line for line in lines if line.startswith("**")]
    assert headline in (ROOT / "README.md").read_text().splitlines()


def test_every_report_and_figure_is_there():
    for size in ("16g", "512g", "4t"):
        folder = ROOT / "docs" / "reports" / size
        text = (folder / "report.md").read_text()
        shown = {part.split(")")[0] for part in text.split("](figures/")[1:]}
        assert shown == {path.name for path in (folder / "figures").iterdir()}
        assert text.count("\n## ") == 11
