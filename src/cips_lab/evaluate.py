"""Metrics of a generator or of pictures: ``python -m cips_lab.evaluate ckpt=runs/quickstart``. See ``--help``."""

import os
from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.configuration import build
from cips_lab.errors import UserError
from cips_lab.files.whole import replace_text


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then start the processes, then evaluate."""
    if (cfg.ckpt is None) == (cfg.samples is None):
        raise UserError(
            "give either ckpt=... (a run folder, a .safetensors or a released .pt file) "
            "or samples=... (a folder or .zip of pictures of any generator); see --help"
        )
    if cfg.split not in ("train", "test"):
        raise UserError(f"split={cfg.split}: expected train or test")
    output = Path(str(cfg.output)).expanduser()
    if output.suffix != ".json":
        raise UserError(f"output={output}: expected the name of a .json file")
    if set(cfg.logger) - {"wandb"}:
        raise UserError("an evaluation goes into its output, and with logger=wandb into W&B: logger=wandb or none")

    import json

    from lightning_fabric import Fabric

    from cips_lab.data.dataset import FixedSizeDataset
    from cips_lab.data.sources import open_source
    from cips_lab.interop.native import load_generator
    from cips_lab.launch.run import quiet_libraries
    from cips_lab.metrics.evaluator import Evaluator
    from cips_lab.metrics.results import sentence
    from cips_lab.processes.layout import count_processes, set_float32, set_threads
    from cips_lab.render.scene import samples
    from cips_lab.tracking.wandb_evaluation import record_evaluation

    quiet_libraries()
    processes = count_processes(cfg.trainer)
    set_threads(cfg.trainer, processes)
    set_float32(cfg.trainer.tf32)
    generator, pictures = None, None
    if cfg.ckpt is not None:
        generator = load_generator(cfg.ckpt)
        cfg.resolution = cfg.resolution or generator.resolution
        if generator.native_only and cfg.resolution != generator.resolution:
            raise UserError(
                f"resolution={cfg.resolution}: this generator is convolutional and makes pictures of "
                f"{generator.resolution} x {generator.resolution} only"
            )
    else:
        pictures = FixedSizeDataset(open_source(cfg.samples, option="samples"), cfg.resolution)
        cfg.resolution = pictures.resolution
    evaluator: Evaluator = build(cfg.metrics)
    data = build(cfg.data)
    try:
        data.setup()
        real = data.train_dataset if cfg.split == "train" else data.test_dataset
        if real is None:
            raise UserError("split=test: this data set has no held-out pictures; set data.test_path, or split=train")
        statistics = None
        count = evaluator.num_samples if pictures is None else min(evaluator.num_samples, len(pictures))
        evaluator.check(real, count)
    except UserError as error:  # pictures that were there once may be known already
        location = data.location if cfg.split == "train" else str(cfg.data.get("test_path"))
        statistics = evaluator.recorded(location, cfg.resolution) if not Path(location).exists() else None
        if statistics is None:
            raise
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:
            print(f"{str(error).splitlines()[0]}; using their statistics, {statistics.main.path}", flush=True)

    fabric = Fabric(
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy="ddp" if processes > 1 else "auto",
    )
    fabric.launch()
    evaluator.to(fabric.device)
    if statistics is None:
        assert real is not None
        statistics = evaluator.reference(real)
    if generator is not None:
        made = samples(generator.to(fabric.device), evaluator.batches(), fabric.device, cfg.truncation, cfg.resolution)
        results = evaluator.evaluate(made, statistics)
    else:
        assert pictures is not None
        results = evaluator.evaluate_pictures(pictures, statistics)
    results |= {"of": str(cfg.ckpt or cfg.samples), "data": statistics.main.location, "split": str(cfg.split)}
    results |= {"truncation": float(cfg.truncation)} if generator is not None else {}
    if fabric.is_global_zero:
        replace_text(output, json.dumps(results, indent=2) + "\n")
        print(f"{sentence(results)}\n{output}")
        if "wandb" in cfg.logger:
            record_evaluation(cfg, output, statistics, results)


if __name__ == "__main__":
    main()
