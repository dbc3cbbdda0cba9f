"""What people have their pictures in that is not read here: each is named, with how to come by a folder of pictures."""

from collections import Counter
from pathlib import Path

from cips_lab.files.names import printable

TAR = (
    "is a compressed tar, in which pictures cannot be read one by one; unpack it (mkdir pictures; tar -xf ... -C "
    "pictures) and give the folder, or decompress it (gunzip, bunzip2, unxz, unzstd) and give the .tar"
)
ARROW = (
    "is an Arrow file, which is not read; write it as a Parquet table (pip install datasets):\n"
    "  python -c \"from datasets import Dataset; Dataset.from_file('{path}').to_parquet('pictures.parquet')\"\n"
    "and give that"
)
ARCHIVE = "is an archive of a kind that is not read; unpack it and give the folder"
RECORDS = "is a file of TensorFlow's records, which is not read; export its pictures into a folder and give that"
ARRAY = "is a file of arrays, which is not read; save its pictures as PNGs into a folder and give that"

ENDINGS = {
    **dict.fromkeys((".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"), TAR),
    ".arrow": ARROW,
    **dict.fromkeys((".7z", ".rar", ".gz", ".bz2", ".xz", ".zst"), ARCHIVE),
    **dict.fromkeys((".tfrecord", ".tfrecords"), RECORDS),
    **dict.fromkeys((".npy", ".npz", ".h5", ".hdf5", ".pt"), ARRAY),
}
REMOTE = "is an address, and nothing is downloaded; download it and give the folder of pictures or the .zip"


def what_else(path: Path | str, left_out: Counter[str] | None = None) -> str | None:
    """What a place is that no source reads, with the remedy, to follow its name in a message; None: nothing known.

    Args:
        path: an address, a file or a folder.
        left_out: the endings of a folder's files, none of which are pictures.
    """
    text = str(path)
    if "://" in text:
        return REMOTE
    place = Path(path).expanduser()
    if place.is_dir():
        found = next((kind for kind, _ in (left_out or Counter[str]()).most_common() if kind in ENDINGS), None)
        example = next(iter(sorted(place.rglob(f"*{found}"))), None) if found else None
        if example is None:
            return None
        return f"holds no pictures; {printable(example.name)} {_of_ending(example, str(found))}"
    name = place.name.lower()
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if name.endswith(ending)), None)
    return _of_ending(place, ending) if ending else None


def _of_ending(place: Path, ending: str) -> str:
    return ENDINGS[ending].format(path=printable(place))
