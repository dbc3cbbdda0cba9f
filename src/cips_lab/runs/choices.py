"""What a run was composed of: an option of each of Hydra's groups, and what the command line changed."""

from pathlib import Path

import yaml
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from cips_lab.files.whole import replace_text
from cips_lab.runs.folder import CHOICES, OVERRIDES
from cips_lab.runs.settings import LOADER

Choices = dict[str, str]


def composed_choices() -> Choices:
    """Of this command: ``{"generator": "cips_ne", "data": "blue_marble", ...}``; empty outside Hydra."""
    return choices_of(HydraConfig.get()) if HydraConfig.initialized() else {}


def choices_of(hydra: HydraConf) -> Choices:
    """Of Hydra's own part of a composed configuration."""
    composed = OmegaConf.to_container(hydra.runtime.choices)
    assert isinstance(composed, dict)
    return {str(k): str(v) for k, v in composed.items() if v is not None and not str(k).startswith("hydra/")}


def write_choices(run: Path, choices: Choices) -> None:
    """choices.yaml."""
    replace_text(run / CHOICES, yaml.safe_dump(choices, allow_unicode=True))


def read_choices(run: Path) -> Choices:
    """Those of a run folder; empty in those of earlier versions, or where they cannot be read."""
    try:
        found = yaml.load((run / CHOICES).read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def write_overrides(run: Path, overrides: list[str]) -> None:
    """overrides.yaml: a list of what the command line, or the sweep, changed."""
    replace_text(run / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(overrides)))


def read_overrides(run: Path) -> tuple[str, ...]:
    """That list; also where Hydra's own output_subdir holds it; empty where there is none that can be read."""
    for path in (run / OVERRIDES, run / ".hydra" / OVERRIDES):
        try:
            found = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(found, list):
            return tuple(str(entry) for entry in found)
    return ()
