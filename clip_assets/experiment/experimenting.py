"""An experiment from its plan to its table: every training in turn, and what is known then."""

from collections.abc import Callable
from pathlib import Path

from clip_assets.experiment.comparison import Comparison, Folder
from clip_assets.experiment.held_out import HeldOut
from clip_assets.experiment.html import page
from clip_assets.experiment.judging import Questions
from clip_assets.experiment.report import Table, table
from clip_assets.experiment.training import Trained, Training
from clip_assets.files.whole import whole_file
from clip_assets.pool.pool import Pool
from clip_assets.streaming.pool_samples import PoolSamples

JSON, PAGE = "experiment.json", "experiment.html"


def compare(
    pool: Pool,
    plan: Comparison,
    output: Path,
    device: str | None = None,
    told: Callable[[Table], object] = lambda _: None,
) -> Table:
    """Run an experiment, or go on with it; the table is written again after every training.

    Args:
        pool: whose subsets.
        plan: what is compared.
        output: its folder.
        device: of torch; by default the first GPU if there is one.
        told: called with the table after each training.

    Raises:
        ConfigurationError: the folder is another experiment's, or a subset is too small.
        MissingArtifactError: a subset is not made.
        SourceMissingError: there is no held-out data.
    """
    folder = Folder(output)
    # All of it is opened before the first step: what is misspelt shows at once.
    questions = Questions(
        HeldOut(plan.classify, plan.class_field) if plan.classify else None,
        HeldOut(plan.retrieve) if plan.retrieve else None,
        plan.templates,
    )
    sets = {name: PoolSamples(pool, name, gone="leave out") for name in plan.subsets}
    digests = {name: samples.digest for name, samples in sets.items()}
    digests |= {"classify": questions.classify.digest} if questions.classify else {}
    digests |= {"retrieve": questions.retrieve.digest} if questions.retrieve else {}
    folder.claim(plan, digests)
    trained: dict[str, dict[int, Trained]] = {}
    made = table(plan, trained)
    # A seed of all subsets before the next seed, so that early tables compare something.
    for seed in plan.seeds:
        for name in plan.subsets:
            training = Training(plan, sets[name], seed, folder.run(name, seed), device)
            trained.setdefault(name, {})[seed] = training.run(questions)
            made = table(plan, trained)
            write(made, output)
            told(made)
    return made


def write(made: Table, output: Path) -> None:
    """Write the table as json and as a page."""
    for name, content in ((JSON, made.json()), (PAGE, page(made))):
        with whole_file(output / name) as part:
            part.write_text(content)
