"""What a run's generator is called: as it was chosen; of runs that did not record it, as its structure tells."""

from functools import cache
from typing import Any

from omegaconf import OmegaConf

from cips_lab.configuration import conf_folder
from cips_lab.interop.native import CIPS
from cips_lab.runs.records import Job

STRUCTURE = ("_target_", "output", "blocks", "activation", "modulation")


def generator_name(job: Job) -> str | None:
    """The option of the group `generator` that a run was composed of; None where even its structure is not known."""
    return job.choices.get("generator") or known_generator(job.config.get("generator") or {})


def is_walkable(config: dict[str, Any]) -> bool:
    """Whether `cips_lab.explore` makes a page of a run's generator: each of its pixels can be computed alone.

    Args:
        config: the run's resolved configuration.
    """
    return (config.get("generator") or {}).get("_target_") == CIPS


def signature(generator: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a generator one of the paper's variants, whatever its sizes."""
    fourier, embedding = generator.get("fourier"), generator.get("embedding")
    return (
        *(str(generator.get(name)) for name in STRUCTURE),
        None if fourier is None else (fourier.get("initialization") if isinstance(fourier, dict) else None),
        embedding is None,
        embedding.get("lowpass") if isinstance(embedding, dict) else None,
    )


@cache
def known_generators() -> dict[tuple[Any, ...], str]:
    """signature -> name, of every file in conf/generator/."""
    folder = conf_folder() / "generator"
    return {signature(_composed(path.stem)): path.stem for path in sorted(folder.glob("*.yaml"), reverse=True)}


def known_generator(generator: dict[str, Any]) -> str | None:
    """The file in conf/generator/ that a resolved configuration came from, whatever its sizes; None if from none."""
    return known_generators().get(signature(generator))


def _composed(name: str) -> dict[str, Any]:
    """A generator's file upon those that its defaults list names; interpolations stay as they are."""
    loaded = OmegaConf.to_container(OmegaConf.load(conf_folder() / "generator" / f"{name}.yaml"), resolve=False)
    assert isinstance(loaded, dict)
    own: dict[str, Any] = {str(key): value for key, value in loaded.items()}
    result: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        if base != "_self_":
            result |= _composed(str(base))
    for key, value in own.items():
        merge = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = result[key] | value if merge else value
    return result
