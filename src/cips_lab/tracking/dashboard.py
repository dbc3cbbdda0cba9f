"""The W&B workspace and report of a project: built here, saved there, or shown as JSON."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line
from cips_lab.files.whole import replace_text
from cips_lab.runs.folder import CONFIG
from cips_lab.runs.settings import read_settings
from cips_lab.tracking.wandb_curves import Curve, curves_of
from cips_lab.tracking.wandb_mode import has_wandb_key

KINDS = ("workspace", "report")
PLACEHOLDER = "ENTITY"  # in a dry run that was given none


def make_dashboards(cfg: DictConfig) -> Iterator[str]:
    """Do what a composed ``conf/dashboard.yaml`` says.

    Yields:
        Lines to print: addresses of what was saved; in a dry run the JSON, or the files that hold it.

    Raises:
        UserError: an option, the extra or the key is missing, or W&B cannot be reached.
    """
    kinds = [str(kind) for kind in cfg.build]
    if not kinds or set(kinds) - set(KINDS):
        raise UserError(f"build={kinds}: choose from {', '.join(KINDS)}, e.g. build=[report]")
    dry_run = not has_wandb_key() if cfg.dry_run is None else bool(cfg.dry_run)
    if not dry_run and not has_wandb_key():
        raise UserError("dry_run=false needs an API key: `wandb login`, or WANDB_API_KEY; dry_run=true needs none")
    if not dry_run and cfg.output is not None:
        raise UserError(f"output={cfg.output} is for dry runs: add dry_run=true")
    require_extra()
    curves = curves_of(cfg)
    entity = cfg.entity or os.environ.get("WANDB_ENTITY") or (PLACEHOLDER if dry_run else reached(default_entity))
    built = {kind: BUILDERS[kind](cfg, str(entity), curves) for kind in kinds}
    if not dry_run:
        for kind, dashboard in built.items():
            yield f"{kind}: {reached(partial(save, kind, dashboard, bool(cfg.draft)))}"
    elif cfg.output is None:
        yield json.dumps({kind: as_json(dashboard) for kind, dashboard in built.items()}, indent=2)
    else:
        folder = Path(str(cfg.output)).expanduser()
        for kind, dashboard in built.items():
            path = folder / f"{kind}.json"
            replace_text(path, json.dumps(as_json(dashboard), indent=2) + "\n")
            yield str(path)


def require_extra() -> None:
    """Raises `UserError` where wandb-workspaces is not installed."""
    try:
        import wandb_workspaces.reports.v2  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"cips_lab.dashboard needs wandb-workspaces ({error}): pip install 'cips-lab[dashboard]'"
        ) from error


def workspace(cfg: DictConfig, entity: str, curves: list[Curve]) -> Any:
    """The workspace of a composed configuration."""
    from cips_lab.tracking.wandb_workspace import build_workspace

    title = cfg.title or cfg.group or "CIPS"
    return build_workspace(entity, str(cfg.project), title, curves, cfg.group, are_explored(cfg))


def are_explored(cfg: DictConfig) -> bool:
    """Whether runs log the explorer's page: the run that is named, else those of this configuration."""
    loggers: Any = cfg.logger
    if cfg.run is not None:
        path = Path(str(cfg.run)).expanduser() / CONFIG
        loggers = read_settings(path).get("logger") if path.is_file() else None
    return bool(((loggers or {}).get("wandb") or {}).get("explorer"))


def report(cfg: DictConfig, entity: str, curves: list[Curve]) -> Any:
    """The report of a composed configuration."""
    from cips_lab.tracking.wandb_report import build_report

    variants = None if cfg.variants is None else OmegaConf.to_container(cfg.variants)
    title = cfg.title or f"Ablation: {cfg.group or cfg.compare}"
    return build_report(entity, str(cfg.project), title, curves, cfg.group, str(cfg.compare), variants)  # type: ignore[arg-type]


BUILDERS: dict[str, Callable[[DictConfig, str, list[Curve]], Any]] = {"workspace": workspace, "report": report}


def as_json(dashboard: Any) -> dict[str, Any]:
    """What would be sent."""
    sent: dict[str, Any] = dashboard._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return sent


def save(kind: str, dashboard: Any, draft: bool) -> str:
    """Save in W&B; its address."""
    saved = dashboard.save(draft=draft) if kind == "report" else dashboard.save()
    return str(saved.url)


def default_entity() -> str:
    """That of the API key."""
    import wandb

    return str(wandb.Api().default_entity)


def reached(call: Callable[[], str]) -> str:
    """What a call to W&B returns. Raises `UserError` if W&B cannot be reached or refuses."""
    import requests
    import wandb

    try:
        return call()
    except (wandb.errors.Error, requests.RequestException, ValueError) as error:
        raise UserError(
            f"W&B: {first_line(error)}; check the network, the key, entity= and project=, or say dry_run=true"
        ) from error
