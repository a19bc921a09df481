"""What folders of any size cost: the index, memory, first and second pass, against a DataLoader.

Makes a folder of small JPEG files under --out (hard links to a few thousand pictures), then prints

- seconds of the index, made and read again, and the peak of resident memory;
- seconds of a first and a second pass of `nas.data.loading`, and their ratio;
- its images a second in the first pass, which decodes, and in the second, over those of a plain
  torch `DataLoader` with the same transforms and workers, which decodes in every pass; rounds of
  both alternate.

    python experiments/data_pipeline.py --out DIR                          # 200,000 files
    python experiments/data_pipeline.py --out DIR --files 20000 --pass 4000 --rounds 6 --workers 0
"""

import argparse
import os
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from nas.data import Statistics, load
from nas.data.loading import LoadedTensors
from nas.data.pictures import ImageFiles

CLASSES, DISTINCT, BATCH = 10, 2000, 64


def make(root: Path, files: int, side: int) -> None:
    source = root.with_name(f"{root.name}-source")
    source.mkdir(parents=True)
    for number in range(DISTINCT):
        rng = np.random.default_rng(number)
        small = rng.integers(256, size=(8, 10, 3)).astype("uint8")
        picture = Image.fromarray(small).resize((side * 4 // 3, side), Image.Resampling.BICUBIC)
        noise = rng.normal(0, 6, (side, side * 4 // 3, 1))
        pixels = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(source / f"{number}.jpg", quality=85)
    for label in range(CLASSES):
        (root / f"class{label}").mkdir(parents=True)
    for number in range(files):
        place = root / f"class{number % CLASSES}" / f"{number:07}.jpg"
        os.link(source / f"{number % DISTINCT}.jpg", place)


class Plain(TorchDataset[torch.Tensor]):
    """The transforms by hand: decode, middle, scale, normalise."""

    def __init__(self, images: ImageFiles, size: int) -> None:
        self.paths = [images.index.source(int(row)) for row in images.rows]
        self.size, self.resize = size, images.preprocessing(size).resize

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        width, height = image.size
        half = min(width, height) * self.size / self.resize / 2
        box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
        cut = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1).float().div_(255)
        return pixels.sub_(0.5).div_(0.25)


def clock(workers: int) -> float:
    """Seconds; of processor time where one process does all, as other programs change that less."""
    return time.perf_counter() if workers else time.process_time()


def plain_seconds(images: ImageFiles, size: int, workers: int) -> float:
    start = clock(workers)
    for batch in DataLoader(
        Plain(images, size), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers
    ):
        assert batch.shape[0] == BATCH
    return clock(workers) - start


def our_seconds(images: ImageFiles, size: int, workers: int) -> float:
    start = clock(workers)
    rows = np.arange(len(images))
    stats = Statistics((0.5,) * 3, (0.25,) * 3)
    source = LoadedTensors(images, rows, stats, size, torch.device("cpu"), workers=workers)
    order = torch.randperm(len(images)).split(BATCH)
    batches = [(step, part) for step, part in enumerate(order) if len(part) == BATCH]
    source.expect(batches)
    for _, part in batches:
        assert source[part].shape[0] == BATCH
    source.close()
    return clock(workers) - start


def peak_gib() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + children) / (1 << 20)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--files", type=int, default=200_000)
    options.add_argument("--side", type=int, default=160, help="shorter side of a file, pixels")
    options.add_argument("--size", type=int, default=64, help="what the network sees, pixels")
    options.add_argument("--pass", type=int, default=20_000, dest="images")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    os.environ["NAS_CACHE"] = str(given.out / "cache")
    root = given.out / f"files-{given.files}-{given.side}"
    if not root.exists():
        make(root, given.files, given.side)
    shutil.rmtree(given.out / "cache", ignore_errors=True)
    for what in ("made", "read again"):
        start = time.perf_counter()
        data = load(f"folder:{root}")
        seconds = time.perf_counter() - start
        print(f"index {what}: {seconds:.1f} s for {len(data)} files", flush=True)
    images = data.images
    assert isinstance(images, ImageFiles)
    part = images[np.random.default_rng(0).permutation(len(images))[: given.images]]
    ratios = []
    for number in range(given.rounds):
        shutil.rmtree(given.out / "cache" / "images", ignore_errors=True)
        from nas.data.pictures import _opened

        _opened.cache_clear()
        times = {}
        runs = [("plain", plain_seconds), ("first", our_seconds), ("second", our_seconds)]
        for name, run in runs if number % 2 else [*runs[1:], runs[0]]:
            times[name] = run(part, given.size, given.workers)
        ratios.append((times["plain"] / times["first"], times["plain"] / times["second"]))
        print(
            f"pass of {len(part)}: plain {times['plain']:.1f} s, "
            f"ours first {times['first']:.1f} s, second {times['second']:.1f} s",
            flush=True,
        )
    first, second = np.median(ratios, axis=0)
    print(
        f"throughput over a plain DataLoader's: {first:.2f} decoding, {second:.2f} from the cache"
    )
    print(f"peak of resident memory: {peak_gib():.2f} GiB, this process and its largest worker")


if __name__ == "__main__":
    main()
