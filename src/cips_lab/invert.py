"""A picture's styles in a generator: ``python -m cips_lab.invert image=face.jpg ckpt=runs/faces``. See ``--help``."""

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError


@command("invert")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then look for the picture."""
    if cfg.image is None:
        raise UserError("image=... is missing: a picture, a list of them, or a folder (see --help)")
    if cfg.ckpt is None:
        raise UserError("ckpt=... is missing: a run folder, a .safetensors or a released .pt file (see --help)")

    from cips_lab.inverting.inverting import Inverting
    from cips_lab.processes.layout import set_float32

    set_float32(tf32=False)
    print(Inverting(cfg).run())


if __name__ == "__main__":
    main()
