"""What to type instead: of options that are not there, or are other programs', of what is gone, of groups left out."""

import difflib
from collections.abc import Sequence

LENGTH = "a run's length is schedule.total_kimg, in thousands of images seen"
CONTINUED = "the same command with the same name= continues a run; init= starts from another's generator"
FOLDERS = "run folders are made in paths.runs"

# What people who know PyTorch Lightning or StyleGAN type first, by the last part of the name.
HABITS = {
    "max_steps": LENGTH,
    "min_steps": LENGTH,
    "max_epochs": LENGTH,
    "min_epochs": LENGTH,
    "limit_train_batches": LENGTH,
    "overfit_batches": LENGTH,
    "kimg": LENGTH,
    "max_time": f"{LENGTH}; what SIGTERM ends is continued by the same command",
    "fast_dev_run": "experiment=debug trains for seconds, to see that all works",
    "gradient_clip_val": "gradients are not clipped here; objective.generator_lr and objective.discriminator_lr make "
    "steps smaller, guard=rollback goes back when a gradient is not finite",
    "gradient_clip_algorithm": "gradients are not clipped here",
    "accumulate_grad_batches": "micro_batch=N accumulates: images a pass on each process, of batch_size an iteration",
    "batch_gpu": "micro_batch=N: images a pass on each process, of batch_size an iteration",
    "batch": "batch_size=N: images an iteration over all processes together",
    "val_check_interval": "evaluations come every schedule.evaluate_kimg",
    "check_val_every_n_epoch": "evaluations come every schedule.evaluate_kimg",
    "limit_val_batches": "evaluations take schedule.evaluate_samples pictures, the last metrics.num_samples",
    "num_sanity_val_steps": "what an evaluation needs is looked at before training; nothing is to be set",
    "log_every_n_steps": "metrics are logged every schedule.log_kimg",
    "snap": "checkpoints come every schedule.checkpoint_kimg, sample grids every schedule.sample_kimg",
    "enable_checkpointing": "checkpoints come every schedule.checkpoint_kimg; callbacks.checkpoints=null: none",
    "enable_progress_bar": "callbacks.progress=null leaves the progress line out",
    "strategy": "more than one process train in parallel by themselves: trainer.devices=N, trainer=gpu or ddp_cpu",
    "gpus": "trainer=gpu trainer.devices=N",
    "num_gpus": "trainer=gpu trainer.devices=N",
    "num_processes": "trainer=ddp_cpu trainer.devices=N",
    "lr": "objective.generator_lr and objective.discriminator_lr",
    "learning_rate": "objective.generator_lr and objective.discriminator_lr",
    "glr": "objective.generator_lr",
    "dlr": "objective.discriminator_lr",
    "gamma": "objective.r1_weight",
    "optimizer": "both networks have Adam: objective.betas, objective.generator_lr, objective.discriminator_lr",
    "mirror": "data.flip",
    "deterministic": "draws depend on seed and images seen alone; nothing is to be set",
    "default_root_dir": FOLDERS,
    "outdir": FOLDERS,
    "ckpt_path": CONTINUED,
    "resume_from_checkpoint": CONTINUED,
    "resume": CONTINUED,
    "run_name": "name",
}

# Options of a group that are no more, and what does the same.
GONE = {
    "trainer/ddp": "trainer=ddp is gone: type trainer=gpu, which takes all GPUs of this machine, or trainer.devices=N",
    "data/zip": "data=zip is gone: type data=folder, which takes a .zip as data.path as well",
    "logger/csv": "logger=csv is gone: metrics.jsonl in the run's folder is always there; pandas.read_json(PATH, "
    "lines=True) reads it, and python -m cips_lab.tabulate writes a sweep's table.csv",
}

# How a group is left out, if it can be.
LEFT_OUT = {
    "logger": "logger=none leaves it out",
    "guard": "guard=off leaves it out",
    "callbacks": "callbacks.NAME=null leaves one of them out",
    "experiment": "experiment=custom presets nothing",
}


def unknown(option: str, known: Sequence[str]) -> str:
    """What is said of an option that nothing reads.

    Args:
        option: its name, such as ``trainer.max_steps``.
        known: the names that there are.
    """
    last = option.rpartition(".")[2]
    if "schedule.total_kimg" in known and last.replace("-", "_") in HABITS:  # of a command that trains
        return f"{option}: there is no such option: {HABITS[last.replace('-', '_')]}"
    near = nearest(option, known)
    return f"{option}: there is no such option" + (f"; did you mean {near}?" if near else " (--help lists them)")


def nearest(option: str, known: Sequence[str]) -> str | None:
    """The name that was probably meant: the same word in another place, else one that is spelt almost so."""
    last = option.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    if same:
        return difflib.get_close_matches(option, same, n=1, cutoff=0)[0]
    close = difflib.get_close_matches(option, known, n=1, cutoff=0.75)
    if close:
        return close[0]
    words = difflib.get_close_matches(last, [name.rpartition(".")[2] for name in known], n=1, cutoff=0.75)
    return next((name for name in known if words and name.rpartition(".")[2] == words[0]), None)


def left_out(group: str, choices: Sequence[str]) -> str:
    """What is said where a group is missing that has these options."""
    return f"{group} is needed; " + LEFT_OUT.get(group, f"choose {group}={'|'.join(choices)}")


def in_lines(mistakes: Sequence[str]) -> str:
    """One mistake as it is; several as a list."""
    return mistakes[0] if len(mistakes) == 1 else "\n  ".join([f"{len(mistakes)} mistakes", *mistakes])
