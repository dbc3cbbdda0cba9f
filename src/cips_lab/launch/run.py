"""From a composed configuration to a finished run folder: `train`, and the `Run` that it takes through its life."""

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger

from cips_lab.callbacks.evaluation import Evaluation
from cips_lab.callbacks.interruption import Interruption
from cips_lab.callbacks.same_moment import SameMoment
from cips_lab.callbacks.stop import StopAtTotal
from cips_lab.configuration import build
from cips_lab.errors import NonFinite
from cips_lab.files.secrets import guard_logs, redact_settings
from cips_lab.files.whole import disk_full, is_full, quiet_log_when_full
from cips_lab.launch.beginning import describe, inputs_of, write_folder
from cips_lab.launch.networks import build_gan, know_classes
from cips_lab.launch.resume import fit_from
from cips_lab.launch.same_run import refuse_another_run
from cips_lab.processes.layout import Layout, check_batch, check_name, layout_of, set_float32, set_threads
from cips_lab.processes.ranks import is_first_of_all, prepare_once
from cips_lab.processes.signals import StopSignals
from cips_lab.processes.strategy import ReplicatedStrategy, WatchedLauncher
from cips_lab.processes.watch import follow_launcher
from cips_lab.runs.checkpoints import best_so_far, sound_checkpoints
from cips_lab.runs.folder import LOCK, images_of
from cips_lab.runs.inputs import Inputs
from cips_lab.runs.lock import only_run_in, will_start_others
from cips_lab.runs.status import FINISHED, RUNNING, write_status
from cips_lab.tracking.loggers import check_loggers, close
from cips_lab.training.guard import Guard, check_precision
from cips_lab.training.rollback import where_to_go_back

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> Path:
    """Train, or continue, the run that a composed ``conf/train.yaml`` describes.

    Returns:
        The run's folder.

    Raises:
        UserError: the configuration or the data cannot be used, another process trains there, or the disk is full.
        Interrupted: a signal asked the run to stop, and it can be continued.
    """
    follow_launcher()
    quiet_libraries()
    quiet_log_when_full()
    guard_logs()
    folder = Path(HydraConfig.get().runtime.output_dir).resolve()
    layout = layout_of(cfg.trainer)
    alone = layout.processes == 1 or will_start_others()
    try:
        with StopSignals(alone) as signals, only_run_in(folder):
            run = Run(cfg, folder, layout)
            run.prepare()
            if run.is_done:
                run.leave_as_it_is()
            else:
                run.begin()
                run.fit(signals)
                run.end()
    except OSError as error:
        if is_full(error):
            raise disk_full(Path(error.filename or folder)) from error
        raise
    return folder


class Run:
    """One process's part in a run: `prepare`, and unless it `is_done`, `begin`, `fit`, `end`.

    Args:
        cfg: composed ``conf/train.yaml``.
        folder: the run's, held by this run alone.
        layout: of the processes that train together.
    """

    def __init__(self, cfg: DictConfig, folder: Path, layout: Layout) -> None:
        self.cfg = cfg
        self.folder = folder
        self.layout = layout

    def prepare(self) -> None:
        """Look at all that can be wrong, cheapest first, and build what trains; nothing is written yet.

        Raises:
            UserError: something is.
        """
        cfg = self.cfg
        check_batch(cfg.batch_size, cfg.micro_batch, self.layout.processes)
        check_loggers(cfg.logger)
        self.guard: Guard = build(cfg.guard)
        check_precision(self.guard, cfg.trainer.precision)
        check_name(self.layout.num_nodes, list(HydraConfig.get().overrides.task))
        set_threads(cfg.trainer, self.layout.processes)
        set_float32(cfg.trainer.tf32)
        self.data = build(cfg.data)
        prepare_once(self.data.prepare_data)  # before anything is built: what is wrong with the data is told at once
        self.gan = build_gan(cfg, self.guard, flip=self.data.flip)
        know_classes(self.gan, self.data)
        if self.gan.view.reads_originals:
            prepare_once(lambda: self.data.check_originals(self.gan.view.frame))
        self.callbacks: list[pl.Callback] = [build(one) for one in cfg.callbacks.values() if one is not None]
        self.evaluation = next((one for one in self.callbacks if isinstance(one, Evaluation)), None)
        self.interruption = next((one for one in self.callbacks if isinstance(one, Interruption)), None)
        self.callbacks.sort(key=lambda one: one is self.interruption)  # the last one, in whatever order they came
        if self.evaluation is not None:
            self.evaluation.check(self.data)
        self.checkpoints = sound_checkpoints(self.folder, tell=is_first_of_all())
        self.settings: dict[str, Any] = redact_settings(OmegaConf.to_container(cfg, resolve=True))
        # Read by all where there is something to compare, else by the one who notes it.
        look = bool(self.checkpoints) or is_first_of_all()
        self.inputs = inputs_of(self.data, cfg.init) if look else Inputs()
        refuse_another_run(self.folder, self.settings, bool(self.checkpoints), self.inputs, cfg.data_changed)
        self.images_seen = images_of(self.checkpoints[-1]) if self.checkpoints else 0

    @property
    def is_done(self) -> bool:
        """Whether the folder holds all images and evaluations that are asked for."""
        evaluation, images = self.evaluation, self.images_seen
        unevaluated = evaluation is not None and evaluation.is_pending(self.folder, images, self.cfg.batch_size)
        return images > 0 and images >= round(self.cfg.schedule.total_kimg * 1000) and not unevaluated

    def leave_as_it_is(self) -> None:
        """Say that there is nothing to do; it may have been killed before it could say that it is finished."""
        log.info("%s has its %g kimg already: raise schedule.total_kimg to train on", self.folder, self.kimg)
        self.say(FINISHED, self.kimg)

    def begin(self) -> None:
        """Write what is known of the run, and start its loggers."""
        if is_first_of_all():
            write_folder(self.folder, self.settings, self.inputs)
            self.say(RUNNING, self.kimg)
            describe(self.gan, self.cfg, self.folder, self.layout.processes, self.checkpoints)
        chosen = OmegaConf.create(self.settings["logger"])  # resolved, and without secrets
        place = {"run_folder": str(self.folder), "images_seen": self.images_seen}
        self.loggers: list[Logger] = [build(one, **place) for one in chosen.values() if one is not None]
        self.trainer = build_trainer(self.cfg, self.folder, self.layout, self.loggers, self.callbacks)

    def fit(self, signals: StopSignals) -> None:
        """Train to the end, to a signal, or to an error; where the guard allows it, go back to a checkpoint and on."""
        if self.interruption is not None:
            self.interruption.signals = signals
        signals.begin_training(launching=self.layout.processes > 1 and will_start_others())
        start = self.checkpoints[-1] if self.checkpoints else None
        try:
            while True:
                try:
                    fit_from(self.trainer, self.gan, self.data, start)
                    return
                except NonFinite as error:
                    # Every checkpoint was written before the iteration that failed: all processes waited for it.
                    start = where_to_go_back(error, self.guard, self.gan, sound_checkpoints(self.folder))
        except SystemExit:  # what Lightning makes of a second Ctrl-C
            if self.trainer.interrupted and signals.at_once:
                raise KeyboardInterrupt from None
            raise
        finally:
            if isinstance(self.trainer.strategy.launcher, WatchedLauncher):
                self.trainer.strategy.launcher.end_watch()
            for logger in self.loggers:
                close(logger)

    def end(self) -> None:
        """Say how it ended.

        Raises:
            Interrupted: before its end, to be continued.
        """
        if self.interruption is not None:
            self.interruption.conclude(self.trainer)
        if self.trainer.is_global_zero:
            self.say(FINISHED, self.gan.images_seen / 1000)
            log.info("finished: %s", self.folder)

    @property
    def kimg(self) -> float:
        """Thousands of images behind it when it was prepared."""
        return self.images_seen / 1000

    def say(self, state: str, kimg: float) -> None:
        """Write status.json; on the process that owns the folder."""
        if is_first_of_all():
            write_status(self.folder, state, kimg, value=best_value(self.evaluation, self.folder))


def build_trainer(
    cfg: DictConfig, folder: Path, layout: Layout, loggers: list[Logger], callbacks: list[pl.Callback]
) -> pl.Trainer:
    """Lightning's Trainer, without what this program does itself: the end, the order of the data, checkpoints, bars."""
    return pl.Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=layout.devices,
        num_nodes=layout.num_nodes,
        precision=cfg.trainer.precision,
        strategy=ReplicatedStrategy(cfg.trainer.timeout_minutes) if layout.processes > 1 else "auto",
        logger=loggers,
        callbacks=[SameMoment(), StopAtTotal(cfg.schedule.total_kimg), *callbacks],
        default_root_dir=folder,
        max_epochs=-1,  # the stream of images has no end; StopAtTotal ends the run
        use_distributed_sampler=False,  # the data module's order is distributed already
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def best_value(evaluation: Evaluation | None, folder: Path) -> float | None:
    """The metric of a run's best evaluation so far; None where nothing was evaluated."""
    record = best_so_far(folder)
    if evaluation is None or evaluation.best is None or record is None:
        return None
    key = evaluation.evaluator.key_of(evaluation.best)
    return float(record[key]) if key in record else None


def discard_if_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but its log: what was refused leaves no trace."""
    if folder.is_dir() and all(path.suffix == ".log" or path.name == LOCK for path in folder.iterdir()):
        shutil.rmtree(folder)


def quiet_libraries() -> None:
    """Lightning's advice about matters that this program decides for itself."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training")  # the averaged generator
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
