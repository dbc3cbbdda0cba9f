"""What people have their pictures in that is not read here: each is named, with how to come by a folder of pictures."""

from collections import Counter
from pathlib import Path

from cips_lab.files.names import printable

TAR = (
    "is a compressed tar, in which pictures cannot be read one by one; unpack it (mkdir pictures; tar -xf ... -C "
    "pictures) and give the folder, or decompress it (gunzip, bunzip2, unxz, unzstd) and give the .tar"
)
PARQUET = (
    "is a Parquet table, which is not read; export its pictures into a folder "
    "(pip install pandas pyarrow; mkdir pictures):\n"
    "  python -c \"import pandas, pathlib; [pathlib.Path('pictures', f'{{i:07}}.png').write_bytes(v['bytes']) "
    "for i, v in enumerate(pandas.read_parquet('{path}')['image'])]\"\n"
    "(their formats are told by their contents) and give that folder"
)
ARCHIVE = "is an archive of a kind that is not read; unpack it and give the folder"
RECORDS = "is a file of TensorFlow's records, which is not read; export its pictures into a folder and give that"
ARRAY = "is a file of arrays, which is not read; save its pictures as PNGs into a folder and give that"

ENDINGS = {
    **dict.fromkeys((".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"), TAR),
    **dict.fromkeys((".parquet", ".arrow"), PARQUET),
    **dict.fromkeys((".7z", ".rar", ".gz", ".bz2", ".xz", ".zst"), ARCHIVE),
    **dict.fromkeys((".tfrecord", ".tfrecords"), RECORDS),
    **dict.fromkeys((".npy", ".npz", ".h5", ".hdf5", ".pt"), ARRAY),
}
HUB = (
    "is a data set of the Hugging Face hub, which is not read from there; download it "
    "(hf download --repo-type dataset OWNER/NAME --local-dir pictures) and give the folder that holds its pictures"
)
REMOTE = "is an address, and nothing is downloaded; download it and give the folder of pictures or the .zip"


def what_else(path: Path | str, left_out: Counter[str] | None = None) -> str | None:
    """What a place is that no source reads, with the remedy, to follow its name in a message; None: nothing known.

    Args:
        path: an address, a file or a folder.
        left_out: the endings of a folder's files, none of which are pictures.
    """
    text = str(path)
    if text.startswith(("hf://", "hf:/")):
        return HUB
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
