"""Count what a training run will take: ``python -m cips_lab.plan experiment=ffhq_256``. See ``--help``."""

import json
from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import UserError
from cips_lab.files.whole import replace_text


@command("plan")
def main(cfg: DictConfig) -> None:
    """Count, print, and write what was asked for."""
    output = None if cfg.output is None else Path(str(cfg.output)).expanduser()
    if output is not None and (output.suffix != ".json" or output.is_dir()):
        raise UserError(f"output={output}: expected the name of a .json file")

    from cips_lab.planning.plan import make_plan, report  # heavy, and so after what can be refused without it

    plan = make_plan(cfg)
    print(report(plan))
    if output is not None:
        replace_text(output, json.dumps(plan.as_dict(), indent=2) + "\n")


if __name__ == "__main__":
    main()
