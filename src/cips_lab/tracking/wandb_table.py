"""A sweep's table in Weights & Biases, where it was asked for."""

from pathlib import Path

from cips_lab.reporting.formats import conditions, grid
from cips_lab.reporting.table import Table
from cips_lab.tracking.wandb_mode import find_a_home, shortened, wandb_mode


def log_table(table: Table, folder: Path, name: str, project: str, plots: list[Path]) -> None:
    """Log a run of the job type ``tabulate`` with the table, plain numbers and all, and its figures.

    Online if there is an API key (or WANDB_MODE says so), else offline in `folder`/wandb.
    """
    import wandb

    mode = wandb_mode()
    find_a_home()
    head, rows = grid(table)
    columns: list[str | int] = [
        *head,
        *(f"{metric} {part}" for metric in table.metrics for part in ("mean", "std", "n")),
    ]
    lines: list[list[str | float | None]] = []
    for number, cells in enumerate(rows):
        plain: list[float | None] = []
        for metric in table.metrics:
            if number < len(table.rows):
                of_row = table.rows[number].metrics[metric]
                plain += [of_row.mean, of_row.std, of_row.n]
            else:
                plain += [table.floor.get(metric), None, None]
        lines.append([*(cell.text for cell in cells), *plain])
    with wandb.init(
        project=project,
        name=shortened(name),
        job_type="tabulate",
        dir=str(folder),
        mode=mode,  # type: ignore[arg-type]
        notes=conditions(table),
        config=table.conditions,
        settings=wandb.Settings(console="off", silent=mode != "online"),
    ) as run:
        run.log({"table": wandb.Table(columns=columns, data=lines)})
        run.log({path.stem: wandb.Image(str(path)) for path in plots if path.suffix == ".png"})
