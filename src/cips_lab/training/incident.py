"""A loss or gradient that was not finite: who had it, where, and the batch, so that it can be looked at afterwards."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from cips_lab.data.labelled import Parts
from cips_lab.files.whole import replace_text, replacing
from cips_lab.processes.collectives import wait_for_all
from cips_lab.runs.folder import GUARD, kimg_label

TITLES = {"discriminator": "discriminator, step D", "r1": "discriminator, step R1", "generator": "generator, step G"}
NAMES = ("real", "windows", "label")  # of a batch's parts (`data.labels.parts_of`), of which the first is always there
NAMED = 5  # parameters in the message; the file has all
LOADING = (
    "real = safetensors.torch.load_file(FILE)['real'] are its real images; cips_lab.training.draws.draw_latents(seed, "
    "purpose, images_seen, batch_size, z_dim) with the numbers in the .json, and purpose 'discriminator' or "
    "'generator', are the latents of the whole batch, of which process r has rows r::N; where there is a 'label' it "
    "stands behind them: Latents.of(label)"
)


@dataclass(frozen=True)
class Finding:
    """What one process found: its own losses, and the parameters whose gradients were not finite before averaging."""

    process: int
    losses: dict[str, float]
    parameters: list[str]

    @property
    def lost_losses(self) -> list[str]:
        """Losses and logits that are not finite here."""
        return [n for n, v in self.losses.items() if n.startswith(("loss/", "logits/")) and not math.isfinite(v)]

    @property
    def is_origin(self) -> bool:
        """Whether this process had it, rather than received it in the average."""
        return bool(self.parameters or self.lost_losses)


@dataclass(frozen=True)
class Incident:
    """The same on every process.

    Attributes:
        phase: ``discriminator``, ``r1`` or ``generator``.
        images_seen, iteration: at the beginning of the iteration.
        rollbacks, seed: how many rollbacks came before, and the seed of this iteration's draws.
        batch_size, micro_batch, z_dim: what the draws need besides.
        processes: of all.
    """

    phase: str
    images_seen: int
    iteration: int
    rollbacks: int
    seed: int
    batch_size: int
    micro_batch: int | None
    z_dim: int
    processes: list[Finding]

    @property
    def origins(self) -> list[Finding]:
        """The processes that had it; none if it did not come again, or came from the sum alone."""
        return [finding for finding in self.processes if finding.is_origin]

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{kimg_label(self.images_seen)}-{self.phase}-{self.rollbacks}"

    def headline(self) -> str:
        """Where and when, in one line."""
        return (
            f"a loss or gradient is not finite ({TITLES[self.phase]}) at kimg {self.images_seen / 1000:g}, "
            f"iteration {self.iteration}"
        )

    def message(self, saved: str) -> str:
        """All that a person needs to know first. `saved`: what became of the files."""
        lines = [f"{self.headline()}; no weight was stepped with it"]
        for finding in self.origins:
            what = [f"{name} = {finding.losses[name]:g}" for name in finding.lost_losses]
            if finding.parameters:
                more = len(finding.parameters) - NAMED
                named = ", ".join(finding.parameters[:NAMED]) + (f" and {more} more" if more > 0 else "")
                what.append(f"gradients of {named}")
            lines.append(f"  process {finding.process} of {len(self.processes)}: {'; '.join(what)}")
        if not self.origins:
            lines.append(
                "  on no process when the step was repeated: the sum over processes overflowed, or a device erred"
            )
        return "\n".join([*lines, f"  {saved}"])


def report(incident: Incident, run: Path, batch: Parts, process: int) -> str:
    """Save what a person needs to look at it, and tell; every process calls it.

    Args:
        incident: the same on all.
        run: the run's folder.
        batch: this process's real images, uint8 [B / processes, 3, R, R], their windows and their classes.
        process: this one's rank.

    Returns:
        The message: in full on the first process.
    """
    saved = save(incident, run, batch, process)
    wait_for_all()  # no process may end, and so end others, while one is still writing
    return (
        incident.message(saved) if process == 0 else f"process {process} stops with the others: {incident.headline()}"
    )


def save(incident: Incident, run: Path, batch: Parts, process: int) -> str:
    """Write RUN/guard/NAME.json (the first process) and NAME-process<r>.safetensors (who had it; else the first).

    Returns:
        A sentence for the message: where they are, or why they could not be written, which must not hide the message.
    """
    folder = run / GUARD
    owners = [finding.process for finding in incident.origins] or [0]
    try:
        if process in owners:
            file = folder / f"{incident.name}-process{process}.safetensors"
            with replacing(file) as partial:
                there = [(name, part) for name, part in zip(NAMES, batch, strict=True) if part is not None]
                named = {name: part.detach().cpu().contiguous() for name, part in there}
                save_file(named, partial, {"incident": incident.name})
        if process == 0:
            record = asdict(incident) | {"world_size": len(incident.processes), "how_to_load": LOADING}
            # NaN is no JSON: numbers that are not finite are written as words.
            replace_text(folder / f"{incident.name}.json", json.dumps(_words(record), indent=2) + "\n")
    except (OSError, SafetensorError) as error:
        return f"the batch could not be saved in {folder} ({error})"
    files = ", ".join(f"{incident.name}-process{owner}.safetensors" for owner in owners)
    return f"saved in {folder}: {files}, {incident.name}.json (which says how to load it)"


def _words(value: object) -> object:
    if isinstance(value, dict):
        return {key: _words(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_words(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
