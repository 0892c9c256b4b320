"""Writing the report of the run or the comparison in a folder."""

from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from pairlens.comparison.study_file import STUDY_FILE
from pairlens.core.files import UnwritableError, make_folder, write_text
from pairlens.plotting.style import figures_for_a_page
from pairlens.report.comparison_report import comparison_page
from pairlens.report.render import MAX_BYTES, render
from pairlens.report.run_report import run_page

REPORT_FILE = "report.html"


def write_report(
    folder: Path,
    out: Path | None = None,
    data_path: Path | None = None,
    max_bytes: int = MAX_BYTES,
    trust: Collection[str] = (),
) -> tuple[Path, str]:
    """Write the report of a run or of a comparison as one HTML file.

    Args:
        folder: the run or the comparison.
        out: the file; by default report.html in the folder.
        data_path: where the data sets are now, if they have moved.
        max_bytes: the limit of its size; photos are made smaller to meet it.
        trust: modules that may be imported to find a loss of another project.

    Returns:
        The file, and why the parts that need photos are missing ("" if they are not).

    Raises:
        ValueError: if the folder is neither a run nor a comparison, or the file cannot be written.
    """
    file = out or folder / REPORT_FILE
    is_comparison = (folder / STUDY_FILE).is_file()
    if not is_comparison and not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} is neither the folder of a run nor of a comparison: it has no config.json or study.json"
        )
    if file.is_dir():
        raise ValueError(f"{file} is a folder; give --out a file, such as {file / REPORT_FILE}")
    # The page holds its figures as data, so their files are needed only until it is rendered.
    with TemporaryDirectory() as scratch, figures_for_a_page():
        make_page = comparison_page if is_comparison else run_page
        page, missing = make_page(folder, Path(scratch), data_path, trust)
        text = render(page, max_bytes)
    try:
        make_folder(file.parent)
        write_text(file, text)
    except UnwritableError:
        # Its message already says which file could not be written, and why.
        raise
    except OSError as error:
        raise ValueError(f"{file} cannot be written ({error.strerror}); give another --out") from error
    return file, missing
