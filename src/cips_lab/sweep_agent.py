"""A W&B sweep of our configurations: ``python -m cips_lab.sweep_agent +sweep=table3``. See ``--help``."""

import argparse
from pathlib import Path

from cips_lab.cli import exit_status
from cips_lab.files.whole import replace_text

TEACHES = """\
Write the file from which `wandb sweep` makes a sweep, for agents on any number of machines. Overrides are those of
`python -m cips_lab.train --multirun`: what has several values is swept, the rest is the same in all runs.

  python -m cips_lab.sweep_agent +sweep=table3 experiment=quickstart
      the variants of the paper; then, as it says:
      wandb sweep --project cips_lab sweep-table3.yaml     and, wherever there is a GPU:    wandb agent ID
  python -m cips_lab.sweep_agent experiment=quickstart generator=cips,cips_ne seed=0,1,2 name=embedding
      a grid
  python -m cips_lab.sweep_agent experiment=quickstart 'objective.r1_weight=tag(log,interval(1,100))' \\
      name=r1 --method bayes --metric final/fd_efficientnet_lite0
      a search; final/... and best/... are what a run leaves in its summary, see docs/wandb.md
"""


def main(arguments: list[str] | None = None) -> None:
    """Parse, build, write; a user's mistake is one line and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m cips_lab.sweep_agent",
        description=TEACHES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="+", metavar="override", help="key=value, as for cips_lab.train --multirun")
    parser.add_argument("--output", type=Path, help="the file (sweep-NAME.yaml)")
    parser.add_argument("--method", choices=("grid", "random", "bayes"), help="grid; where there are intervals, random")
    parser.add_argument("--metric", help="entry of the runs' summary that bayes optimises, e.g. final/fid")
    parser.add_argument("--goal", choices=("minimize", "maximize"), help="minimize, or what the sweep's option says")
    options = parser.parse_intermixed_args(arguments)
    with exit_status("train"):
        from cips_lab.tracking.wandb_sweep import build_sweep, to_yaml

        sweep = build_sweep(options.overrides, options.method, options.metric, options.goal)
        output = options.output or Path(f"sweep-{sweep['name']}.yaml")
        replace_text(output, to_yaml(sweep))
    print(f"{output}\nnext: wandb sweep --project {sweep['project']} {output}")


if __name__ == "__main__":
    main()
