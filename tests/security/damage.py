"""Damaged files by the hundred, and a process that reads them with little memory and a time limit for each.

    python damage.py FOLDER KIND      # reads FOLDER/*, prints a line of JSON for each

A file may be read as a valid object (a flipped bit in a weight is another weight), or be refused in one `UserError`
that names it. Everything else is a failure: another exception, a crash, a hang, too much memory.
"""

import io
import json
import random
import resource
import shutil
import signal
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 20  # for one file
MEMORY = 6 * 2**30  # of address space, of which torch's libraries take most
KINDS = (
    *("safetensors", "discriminator", "ckpt", "resume", "official", "public", "weights"),
    *("zip", "tar", "lmdb", "parquet", "film", "picture", "inversion", "reference", "settings"),
)

# ------------------------------------------------------------------ damage

Damage = Callable[[bytes, random.Random], bytes]


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 3, 30))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_bits_at_an_end(content: bytes, rng: random.Random) -> bytes:
    """Where headers and tables of contents are."""
    changed = bytearray(content)
    for _ in range(8):
        place = rng.randrange(min(len(changed), 300))
        changed[place if rng.random() < 0.5 else -1 - place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def lose_the_beginning(content: bytes, rng: random.Random) -> bytes:
    return content[rng.randrange(1, len(content)) :]


def zero_a_range(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    length = min(rng.choice((4, 64, 4096)), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def swap_parts(content: bytes, rng: random.Random) -> bytes:
    a, b = sorted((rng.randrange(len(content)), rng.randrange(len(content))))
    return content[b:] + content[a:b] + content[:a]


def repeat(content: bytes, rng: random.Random) -> bytes:
    return content + content[rng.randrange(len(content)) :]


def random_bytes(content: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 5000))


def noise_behind_the_magic(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice((2, 4, 8, 16))] + rng.randbytes(rng.randrange(1, 5000))


def empty(content: bytes, rng: random.Random) -> bytes:
    return b""


DAMAGES: tuple[Damage, ...] = (
    flip_bits,
    flip_bits_at_an_end,
    truncate,
    flip_bits_at_an_end,
    lose_the_beginning,
    zero_a_range,
    flip_bits,
    swap_parts,
    repeat,
    random_bytes,
    noise_behind_the_magic,
    empty,
)


def write_damaged(originals: dict[str, list[Path]], folder: Path, each: int, seed: int) -> dict[str, list[Path]]:
    """`each` damaged files of every kind, the first of which are other kinds' sound files under a wrong name."""
    rng = random.Random(seed)
    written: dict[str, list[Path]] = {}
    for kind, sources in originals.items():
        target = folder / kind
        target.mkdir(parents=True)
        others = [path for other, paths in originals.items() if other != kind for path in paths]
        written[kind] = []
        for i in range(each):
            source = sources[i % len(sources)]
            path = target / f"{i:03d}{source.suffix}"
            if i % 9 == 8:
                shutil.copy(rng.choice(others), path)
            else:
                path.write_bytes(DAMAGES[i % len(DAMAGES)](source.read_bytes(), rng))
            written[kind].append(path)
    return written


# ------------------------------------------------------------------ reading


def check_generator(generator: Any) -> None:
    import torch

    with torch.no_grad():
        assert generator(torch.zeros(1, generator.z_dim)).shape == (1, 3, generator.resolution, generator.resolution)


def read_generator(path: Path) -> None:
    from cips_lab import load_generator

    check_generator(load_generator(path))


def read_official(path: Path) -> None:
    from cips_lab.interop import official

    check_generator(official.load_generator(path))


def read_public(path: Path) -> None:
    """All of a public checkpoint, both optimisers too, as `cips_lab.convert` reads it."""
    from cips_lab.interop.official_training import load_training

    check_generator(load_training(path).generator)


def read_discriminator(path: Path) -> None:
    import torch

    from cips_lab.interop.discriminators import load_discriminator

    with torch.no_grad():
        assert load_discriminator(path)(torch.zeros(1, 3, 8, 8)).shape[0] == 1


def read_inversion(path: Path) -> None:
    from cips_lab.render.inverted import load_inversion

    assert load_inversion(path).by_layer(3).dim() == 3


def read_film(path: Path) -> None:
    from cips_lab.data.sources.video import VideoSource

    source = VideoSource(path)
    for index in range(len(source)):
        assert source.read(index).mode == "RGB"


def read_weights(path: Path) -> None:
    from cips_lab.metrics.extractors import load_extractor

    load_extractor("efficientnet_lite0", path)


def read_picture(path: Path) -> None:
    """Among others, as in a data set."""
    folder = path.parent / f"of-{path.stem}"
    folder.mkdir()
    shutil.move(path, folder / path.name)
    try:
        read_pictures(folder)
    finally:
        shutil.move(folder / path.name, path)
        folder.rmdir()


def read_pictures(path: Path) -> None:
    from cips_lab.data.dataset import ImageDataset
    from cips_lab.data.sources import check_readable, open_source

    source = open_source(str(path))
    check_readable(source)
    dataset = ImageDataset(source, 8)
    for i in range(len(dataset)):
        assert dataset[i].shape == (3, 8, 8)


def read_reference(path: Path) -> None:
    from cips_lab.metrics import reference

    found = reference.read(path)
    assert found.features.shape == (found.count, len(found.gaussian.mean))


def read_settings(path: Path) -> None:
    from cips_lab.runs import settings

    assert isinstance(settings.read_settings(path), dict)


def reader(kind: str) -> Callable[[Path], None]:
    readers = {
        "safetensors": read_generator,
        "ckpt": read_generator,
        "official": read_official,
        "public": read_public,
        "discriminator": read_discriminator,
        "inversion": read_inversion,
        "film": read_film,
        "weights": read_weights,
        "zip": read_pictures,
        "tar": read_pictures,
        "lmdb": read_pictures,
        "parquet": read_pictures,
        "picture": read_picture,
        "reference": read_reference,
        "settings": read_settings,
    }
    return readers[kind] if kind in readers else resumer()


def resumer() -> Callable[[Path], None]:
    """Continue the tiny run for one iteration from a file."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
    from tiny import MemoryDataModule, build_gan, make_trainer

    from cips_lab.launch.resume import fit_from
    from cips_lab.launch.run import quiet_libraries

    quiet_libraries()

    def read(path: Path) -> None:
        gan = build_gan()
        trainer = make_trainer(path.parent / "run", 3)
        fit_from(trainer, gan, MemoryDataModule(), path)

    return read


class TooSlow(BaseException):
    """Not an `Exception`: nothing that reads files may swallow it."""


def time_out(*_: object) -> None:
    raise TooSlow


def main() -> None:
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    from cips_lab.errors import UserError

    read = reader(kind)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, time_out)
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        print(json.dumps({"begun": path.name}), flush=True)
        signal.alarm(SECONDS)
        try:
            read(path)
            outcome = {"file": path.name, "outcome": "valid"}
        except UserError as error:
            named = path.name in str(error)
            outcome = {"file": path.name, "outcome": "refused" if named else "unnamed", "message": str(error)[:500]}
        except BaseException as error:
            import traceback

            last = traceback.format_exc().splitlines()[-12:]
            outcome = {"file": path.name, "outcome": type(error).__name__, "message": "\n".join(last)}
        finally:
            signal.alarm(0)
        print(json.dumps(outcome), flush=True)


# ------------------------------------------------------------------ sound files


def sound_pictures() -> list[bytes]:
    import numpy as np
    from PIL import Image

    pictures = []
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png")
        pictures.append(buffer.getvalue())
    return pictures


def sound_zip(path: Path, compression: int) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for i, content in enumerate(sound_pictures()):
            archive.writestr(f"00000/img{i:08d}.png", content)


def sound_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for i, content in enumerate(sound_pictures()):
            for name, data in ((f"{i:06d}.png", content), (f"{i:06d}.cls", b"%d" % i)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def sound_parquet(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    files = [{"bytes": content, "path": None} for content in sound_pictures()]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    parquet.write_table(pyarrow.table({"image": pyarrow.array(files, kind), "label": [0, 1, 1]}), path)


def sound_film(path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(6):
            pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())


def sound_lmdb(path: Path) -> None:
    import lmdb

    with lmdb.open(str(path), subdir=False, map_size=2**24) as base, base.begin(write=True) as writing:
        for i, content in enumerate(sound_pictures()):
            writing.put(f"16-{i:05d}".encode(), content)
        writing.put(b"length", b"3")


if __name__ == "__main__":
    main()
