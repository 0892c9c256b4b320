"""A comparison from its study to its results, in one call."""

from collections.abc import Callable, Collection
from pathlib import Path

from pairlens.comparison.check_study import check
from pairlens.comparison.executors import Engine, run_here
from pairlens.comparison.rank_agreement import RankedLosses
from pairlens.comparison.results import Results, write_results
from pairlens.comparison.run_study import RunFinished, lock_study, run_missing
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Study
from pairlens.comparison.study_file import read_toml
from pairlens.comparison.study_plan import FIGURES_FOLDER, Plan
from pairlens.comparison.tables import write_tables
from pairlens.experiments.tracking import DrawPictures

DEFAULT_FOLDER = Path("runs/comparison")


def compare(
    study: Study | str | Path,
    folder: str | Path | None = None,
    *,
    engine: Engine = run_here,
    watch: Callable[[RunFinished], None] | None = None,
    trust: Collection[str] = (),
    draw: DrawPictures | None = None,
) -> Results:
    """Compare losses fairly: make the missing runs of a study, write results, tables and figures, and return the results.

    Finished runs are never repeated: the same call continues an interrupted comparison.

    Args:
        study: what is compared, as a record or as the path of a TOML file.
        folder: of the comparison; by default runs/comparison, or runs/ and the name of the TOML file.
        engine: what runs the jobs: this process, `local_engine(processes)` or `ray_engine(processes)`.
        watch: called with every finished job.
        trust: modules that may be imported if a TOML file names them, such as {"my_code.losses"}; this runs their code.
        draw: draws pictures of a run for its trackers, as the command line does; a function of a module, because an engine
            may send it to other processes.

    Raises:
        FileNotFoundError: if a data set is not prepared.
        ValueError: before anything runs, if the study cannot be read or is not possible, or a run in the folder has other
            settings, or another comparison is writing into the folder; at the end, if every run has failed.
    """
    if not isinstance(study, Study | str | Path):
        raise ValueError(f"a {type(study).__name__} is no study; give a pl.Study or the path of a TOML file")
    # Imported here, because Matplotlib takes long to import, and only figures need it.
    from pairlens.comparison.agreement_figure import AGREEMENT_FILE, draw_rank_agreement
    from pairlens.comparison.figures import draw_comparison

    planned = study if isinstance(study, Study) else read_toml(Path(study), trust)
    place = Path(folder) if folder is not None else default_folder(study)
    # Before the folder is made, so that an impossible study leaves none behind.
    check(Plan(planned, place))
    # Results, tables and figures are written under the same lock as the runs.
    with lock_study(place):
        for finished in run_missing(planned, place, engine, draw):
            if watch is not None:
                watch(finished)
        results = measure(place)
        write_results(results, place)
        write_tables(results, place)
        draw_comparison(results, place)
        ranked = [RankedLosses.of(result) for result in results.fields]
        draw_rank_agreement(ranked, place / FIGURES_FOLDER / AGREEMENT_FILE)
    return results


def default_folder(study: Study | str | Path) -> Path:
    """Return the folder of a comparison that is given no other one.

    >>> default_folder("studies/birds.toml").as_posix()
    'runs/birds'
    """
    return DEFAULT_FOLDER if isinstance(study, Study) else Path("runs") / Path(study).stem
