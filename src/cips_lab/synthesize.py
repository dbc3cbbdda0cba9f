"""Pictures from a trained generator: ``python -m cips_lab.synthesize ckpt=runs/quickstart``. See ``--help``."""

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError


@command("synthesize")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then synthesise."""
    if cfg.ckpt is None:
        raise UserError("ckpt=... is missing: a run folder, a .safetensors or a released .pt file (see --help)")

    from cips_lab.processes.layout import set_float32
    from cips_lab.render.synthesis import Synthesis

    set_float32(tf32=False)
    print(Synthesis(cfg).run())


if __name__ == "__main__":
    main()
