"""Train a generator: ``python -m cips_lab.train experiment=quickstart``. See ``--help``."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import Interrupted, RunInUse, UserError


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Compose, then train: heavy imports wait until the command line is known to be right.

    With --multirun this is called for each job, starts it as a command of its own, and returns its best evaluation.
    """
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        from cips_lab.launch.sweep import run_job

        return run_job(cfg)
    from cips_lab.launch.run import discard_if_unused, train
    from cips_lab.processes.ranks import is_first_of_all
    from cips_lab.processes.supervisor import end_with_supervisor
    from cips_lab.runs.status import record_end

    end_with_supervisor()
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        train(cfg)
    except BaseException as error:
        first = is_first_of_all() and not isinstance(error, RunInUse)  # else the folder is another's to write
        record_end(folder, error, first)
        if isinstance(error, (UserError, Interrupted)) and first:
            discard_if_unused(folder)
        raise
    return None


if __name__ == "__main__":
    main()
