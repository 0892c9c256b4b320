"""Writing the report of whatever a folder holds."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pairlens.comparison.study import STUDY_FILE
from pairlens.core.files import UnwritableError, write_text
from pairlens.report.comparison_report import comparison_page
from pairlens.report.page import render
from pairlens.report.run_report import run_page

REPORT_FILE = "report.html"


def write_report(folder: Path, out: Path | None = None, data_path: Path | None = None) -> tuple[Path, str]:
    """Write the report of a run or of a comparison as one HTML file; returns it, and why pictures are missing, if so.

    Args:
        folder: the run or the comparison.
        out: the file; by default report.html in the folder.
        data_path: where the data sets lie now, if they have moved.

    Raises:
        ValueError: if the folder is neither, or the file cannot be written.
    """
    file = out or folder / REPORT_FILE
    is_comparison = (folder / STUDY_FILE).is_file()
    if not is_comparison and not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} is neither the folder of a run nor of a comparison: it has no config.json or study.json"
        )
    if file.is_dir():
        raise ValueError(f"{file} is a folder; give --out a file, such as {file / REPORT_FILE}")
    with TemporaryDirectory() as scratch:
        make = comparison_page if is_comparison else run_page
        page, missing = make(folder, Path(scratch), data_path)
        text = render(page)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    except UnwritableError:
        raise
    except OSError as error:
        raise ValueError(f"{file} cannot be written ({error.strerror}); give another --out") from error
    return file, missing
