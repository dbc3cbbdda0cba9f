"""A checkpoint as something else: ``python -m cips_lab.convert ckpt=FILE.pt output=runs/ffhq``. See ``--help``."""

from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError


@command("convert")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then convert."""
    for option, example in (("ckpt", "ckpt=CIPS-ffhq-256.pt"), ("output", "output=runs/ffhq")):
        if cfg[option] is None:
            raise UserError(f"{option}=... is missing, such as {example} (see --help)")

    from cips_lab.interop.exports import ending_of, listed
    from cips_lab.interop.native import generator_file, is_ours, load_trained

    source, output = Path(str(cfg.ckpt)).expanduser(), Path(str(cfg.output)).expanduser()
    ending = ending_of(output)
    if output.exists() or output.is_symlink():
        raise UserError(f"output={output} is there already: choose another name, or remove it")
    file = generator_file(source)
    if ending is not None:
        for option in ("training", "kimg"):
            if cfg[option] is not None:
                raise UserError(f"{option}={cfg[option]} is of a folder, which training goes on in, not of {output}")
        print(ending.write(load_trained(file, cfg.activation), output))
        return
    if is_ours(file):
        raise UserError(
            f"ckpt={cfg.ckpt} is cips_lab's own already, and a folder is made of a public checkpoint; for a file, give "
            f"output= a name that ends in {listed()}; to train another run from its weights, init={cfg.ckpt}"
        )

    from cips_lab.launch.adoption import adopt

    print(
        adopt(
            file,
            output,
            activation=cfg.activation,
            batch_size=cfg.batch_size,
            kimg=cfg.kimg,
            training=cfg.training,
        )
    )


if __name__ == "__main__":
    main()
