"""Options that several commands read alike."""

from omegaconf import DictConfig, OmegaConf

from cips_lab.errors import UserError


def texts(cfg: DictConfig, option: str) -> list[str] | None:
    """An option that is one name or a list of them."""
    value = OmegaConf.select(cfg, option)
    if value is None:
        return None
    found = [str(entry) for entry in value] if OmegaConf.is_list(value) else [str(value)]
    if not found:
        raise UserError(f"{option}=[]: name at least one, or null")
    return found
