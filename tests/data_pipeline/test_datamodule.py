import gc
import logging
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from pictures import random_picture
from torch import Tensor

from cips_lab.data import blue_marble
from cips_lab.data.base import BaseDataModule
from cips_lab.data.datamodule import BlueMarbleDataModule, ImageDataModule
from cips_lab.data.sampler import InfiniteSampler
from cips_lab.errors import UserError

CONF = Path(__file__).parents[2] / "conf"


def ready(datamodule: BaseDataModule) -> BaseDataModule:
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule


def folder_module(path: Path, num_workers: int | None = 0) -> BaseDataModule:
    return ready(ImageDataModule("mine", str(path), 16, num_workers=num_workers))


@pytest.fixture
def few_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(resolution: int, split: str, *_: object) -> np.ndarray:
        size = (20 if split == "train" else 4, 3, resolution, resolution)
        return np.random.default_rng(len(split)).integers(0, 256, size, dtype=np.uint8)

    monkeypatch.setattr(blue_marble, "build_tiles", build)


def test_batches_follow_the_sampler_and_never_end(picture_folder: Path) -> None:
    datamodule = folder_module(picture_folder)
    batches = list(islice(datamodule.train_loader(batch_size=4, seed=3), 7))  # 28 pictures of 9
    order = list(islice(InfiniteSampler(9, 3), 28))
    assert all(batch.dtype == torch.uint8 and batch.shape == (4, 3, 16, 16) for batch in batches)
    expected = torch.stack([datamodule.train_dataset[index] for index in order])
    assert torch.equal(torch.cat(batches), expected)


def test_a_batch_may_be_larger_than_the_data_set(picture_folder: Path) -> None:
    batch = next(iter(folder_module(picture_folder).train_loader(batch_size=20, seed=0)))
    assert batch.shape == (20, 3, 16, 16)


def test_workers_give_the_order_of_a_single_process(picture_folder: Path, stylegan_zip: Path) -> None:
    for path in (picture_folder, stylegan_zip):
        alone = islice(folder_module(path, 0).train_loader(4, seed=1, images_seen=12), 9)
        with_workers = islice(folder_module(path, 2).train_loader(4, seed=1, images_seen=12), 9)
        for first, second in zip(alone, with_workers, strict=True):
            assert torch.equal(first, second)


def test_two_processes_see_what_one_sees(picture_folder: Path) -> None:
    datamodule = folder_module(picture_folder)
    whole = islice(datamodule.train_loader(6, seed=0, images_seen=6), 4)
    parts = [islice(datamodule.train_loader(3, 0, rank, world_size=2, images_seen=6), 4) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch, torch.stack([first, second], dim=1).flatten(0, 1))


class Recorder(pl.LightningModule):
    """Keeps the batches that the trainer hands it."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.batches: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_index: int) -> None:
        self.batches.append(batch)

    def configure_optimizers(self) -> None:
        return None


def test_lightning_reads_the_configured_stream(picture_folder: Path, tmp_path: Path) -> None:
    datamodule = ImageDataModule("mine", str(picture_folder), 16, num_workers=0)
    datamodule.configure(batch_size=2, seed=5, rank=0, world_size=1, images_seen=4)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        limit_train_batches=6,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    recorder = Recorder()
    trainer.fit(recorder, datamodule=datamodule)
    order = islice(InfiniteSampler(9, 5, images_seen=4), 12)
    assert torch.equal(torch.cat(recorder.batches), torch.stack([datamodule.train_dataset[index] for index in order]))


def test_lightning_without_configure_is_told_so(picture_folder: Path) -> None:
    with pytest.raises(RuntimeError, match="configure"):
        folder_module(picture_folder).train_dataloader()


def test_bad_pictures_stop_the_run_before_training(picture_folder: Path) -> None:
    (picture_folder / "text.png").write_text("this is a text file")
    with pytest.raises(UserError, match=r"1 of the 10.*\n.*text\.png"):
        ImageDataModule("mine", str(picture_folder), 16).prepare_data()


def test_bad_test_pictures_name_their_option(picture_folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "test"
    bad.mkdir()
    (bad / "text.png").write_text("this is a text file")
    with pytest.raises(UserError, match=r"data\.test_path"):
        ImageDataModule("mine", str(picture_folder), 16, test_path=str(bad)).prepare_data()


def failure_of(loader: Iterable[Tensor]) -> str:
    """The message alone: a stored exception would keep the loader alive."""
    try:
        next(iter(loader))
    except UserError as error:
        return str(error)
    return "no failure"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_picture_damaged_later_gives_one_plain_message_without_delay(tmp_path: Path, num_workers: int) -> None:
    random_picture(64, 64, seed=0).save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    loader = folder_module(tmp_path, num_workers).train_loader(1, seed=0)
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    message = failure_of(loader)
    assert message.startswith(str(tmp_path / "cut.jpg"))
    assert "truncated" in message
    assert "\n" not in message
    begin = time.perf_counter()
    del loader
    gc.collect()
    assert time.perf_counter() - begin < 8  # torch by itself waits 5 s for each worker


def test_the_hint_is_shown_when_the_path_is_not_set() -> None:
    datamodule = ImageDataModule("ffhq", None, 256, hint="Get FFHQ from example.org.")
    with pytest.raises(UserError, match=r"data\.path(.|\n)*Get FFHQ"):
        datamodule.prepare_data()


def test_describe_and_test_set(picture_folder: Path, stylegan_zip: Path) -> None:
    datamodule = ready(ImageDataModule("mine", str(picture_folder), 16, test_path=str(stylegan_zip)))
    assert datamodule.describe() == {
        "name": "mine",
        "count": 9,
        "resolution": 16,
        "source": str(picture_folder.resolve()),
    }
    assert datamodule.test_dataset is not None
    assert len(datamodule.test_dataset) == 11
    assert folder_module(picture_folder).test_dataset is None


def test_setting_up_twice_keeps_the_data_sets(picture_folder: Path) -> None:
    datamodule = folder_module(picture_folder)
    before = datamodule.train_dataset
    datamodule.setup("test")
    assert datamodule.train_dataset is before


@pytest.mark.parametrize(
    ("cpus", "gpus", "world_size", "workers"),
    [(64, 8, 8, 8), (64, 8, 64, 8), (16, 4, 4, 4), (4, 0, 1, 4), (2, 0, 4, 0), (128, 0, 1, 8)],
)
def test_automatic_workers_share_the_cpus_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, cpus: int, gpus: int, world_size: int, workers: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cpus)))
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert ImageDataModule("mine", None, 16).automatic_workers(world_size) == workers


def test_impossible_options_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="resolution=100"):
        ImageDataModule("mine", "/pictures", 100)
    with pytest.raises(UserError, match="resolution=512"):
        BlueMarbleDataModule(512)
    with pytest.raises(UserError, match=r"data\.num_workers=-1"):
        ImageDataModule("mine", "/pictures", 16, num_workers=-1)


@pytest.mark.usefixtures("few_tiles")
def test_blue_marble(tmp_path: Path) -> None:
    datamodule = ready(BlueMarbleDataModule(32, cache=str(tmp_path)))
    assert datamodule.describe()["name"] == "blue_marble"
    assert datamodule.describe()["count"] == 20
    assert datamodule.test_dataset is not None
    assert len(datamodule.test_dataset) == 4
    batch = next(iter(datamodule.train_loader(batch_size=6, seed=0)))
    tiles = blue_marble.load_tiles(32, "train", tmp_path)
    np.testing.assert_array_equal(batch, tiles[list(islice(InfiniteSampler(20, 0), 6))])


@pytest.mark.usefixtures("few_tiles")
@pytest.mark.parametrize("data", ["folder", "blue_marble"])
def test_the_configs_build_a_data_module(data: str, tmp_path: Path, stylegan_zip: Path) -> None:
    main = tmp_path / "conf" / "main.yaml"
    main.parent.mkdir()
    main.write_text(
        f"hydra:\n  searchpath: ['file://{CONF}']\ndefaults:\n  - data: ???\n  - _self_\n"
        f"resolution: 16\npaths: {{cache: '{tmp_path / 'cache'}'}}\n"
    )
    path = [] if data == "blue_marble" else [f"data.path={stylegan_zip}"]
    with initialize_config_dir(str(main.parent), version_base="1.3"):
        config = compose("main", overrides=[f"data={data}", *path])
    datamodule = ready(instantiate(config.data))
    assert datamodule.describe()["name"] == data
    assert datamodule.flip is True
    assert next(iter(datamodule.train_loader(batch_size=2, seed=0))).shape == (2, 3, 16, 16)
