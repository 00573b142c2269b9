"""Images for a benchmark, as a study would see them."""

from pathlib import Path

from data_utils.dataset import Dataset, load_dataset
from data_utils.prepare import prepare


def prepared(data: Path | None, image_size: int, folder: Path, device: str = "cpu") -> Dataset:
    """The photographs in `data` (None: the embedded sample data), prepared in `folder`, on `device`.

    Raises `data_utils.errors.DataError` for what is wrong with them.
    """
    return load_dataset(prepare(data, folder, image_size=image_size).path, image_size, device)
