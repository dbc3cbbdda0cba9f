"""A set of pictures of one size: ``python -m cips_lab.prepare source=pictures output=set.zip``. See ``--help``."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from cips_lab.cli import command
from cips_lab.errors import STATUS_UNREADABLE, UserError


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then prepare."""
    for option, example in (("source", "source=/my/pictures"), ("output", "output=set.zip")):
        if cfg[option] is None:
            raise UserError(f"{option}=... is missing, such as {example} (see --help)")

    from cips_lab.data.inventory import tell_of
    from cips_lab.data.sources import ImageSource, open_source
    from cips_lab.data.sources.video import VideoSource
    from cips_lab.networks.size import sides
    from cips_lab.preparing.outputs import kind_of_output
    from cips_lab.preparing.preparation import Preparation
    from cips_lab.preparing.recipe import Recipe
    from cips_lab.processes.cores import usable_cores

    place = Path(str(cfg.output)).expanduser().absolute()
    recipe = Recipe(
        None if cfg.resolution is None else sides(cfg.resolution),
        cfg.crop,
        cfg.span,
        cfg.crops,
        cfg.minimum,
        cfg.seed,
        cfg.animations,
    )
    kind = cfg.format or kind_of_output(place)
    given = str(cfg.source)
    if VideoSource.takes(given):
        source: ImageSource = VideoSource(given, "source", cfg.every)
    elif cfg.every != 1:
        raise UserError(f"every={cfg.every} is for frames of films; leave it out")
    else:
        source = open_source(given, option="source")
    if place.resolve().is_relative_to(Path(source.location)):
        raise UserError(f"output={place} lies in the source, which would grow by it; choose a place beside it")
    tell_of(source)
    summary = Preparation(
        source,
        place,
        kind,
        recipe,
        cfg.workers or min(usable_cores(), 1 + len(source) // 200),
        cfg.shard_size,
        cfg.labels,
    ).run()
    print(summary)
    if summary.unreadable and not cfg.tolerate:
        print(
            f"error: {summary.unreadable:,} picture(s) could not be read; the set is whole without them "
            "(tolerate=true: exit status 0 all the same)",
            file=sys.stderr,
        )
        sys.exit(STATUS_UNREADABLE)


if __name__ == "__main__":
    main()
