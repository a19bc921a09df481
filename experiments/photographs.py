"""A folder of photographs as they really come, from the folder to a prediction.

Makes pictures of 640x480 (two kinds of scenery) as cameras, scanners and web sites leave them:
turned by EXIF data, in 16 bits, float, with a palette, CMYK, grey with alpha, one bit, transparent,
animated, cut off, HEIC; beside what systems leave in folders, an empty folder and a loose image.
Then runs what a user would: a search of three trials, the first batch as a picture, a short
training at 224 pixels, the export, and predictions by the ONNX file, the Python file and the
training's folder, which must agree.

    python experiments/photographs.py --out DIR      # some minutes; --steps 60 to see it learn

It needs the extra `export`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 480
COUNT = 80
ORIENTED = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def scene(kind: int, number: int) -> Image.Image:
    """Hills under a sky, or waves below one: smooth, noisy, and never twice the same."""
    rng = np.random.default_rng([kind, number])
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    horizon = rng.uniform(0.35, 0.6) * HEIGHT
    if kind == 0:
        ridge = sum(
            rng.uniform(8, 40) * np.sin(columns / rng.uniform(40, 160) + rng.uniform(0, 6))
            for _ in range(3)
        )
        below = rows > horizon + ridge
        ground = np.array([60, 110, 40]) + rng.integers(-25, 25, 3)
    else:
        below = rows > horizon
        swell = np.sin(rows / rng.uniform(4, 9) + np.sin(columns / 50) * 2) * 30
        ground = np.array([20, 70, 130]) + swell[..., None] + rng.integers(-15, 15, 3)
    sky = np.array([140, 180, 230]) + (rows / HEIGHT * 60)[..., None]
    pixels = np.where(below[..., None], ground, sky) + rng.normal(0, 8, (HEIGHT, WIDTH, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save(picture: Image.Image, folder: Path, number: int) -> None:
    """As one of the programs leaves it from which people have their pictures."""
    name = f"{number:03}"
    kind = number % 12
    if kind in (1, 2):
        orientation = (6, 8)[kind - 1]
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = picture.transpose(ORIENTED[orientation])
        turned.save(folder / f"{name}-turned.jpg", exif=exif, quality=90)
    elif kind == 3:
        deep = np.asarray(picture.convert("L")).astype(np.uint16) * 40 + 1000
        Image.fromarray(deep).save(folder / f"{name}-16-bit.png")
    elif kind == 4:
        picture.quantize(64).save(folder / f"{name}-palette.png")
    elif kind == 5:
        picture.convert("CMYK").save(folder / f"{name}-cmyk.jpg", quality=90)
    elif kind == 6:
        picture.convert("LA").save(folder / f"{name}-grey-alpha.png")
    elif kind == 7:
        picture.save(
            folder / f"{name}-moving.gif", save_all=True, append_images=[picture.rotate(9)]
        )
    elif kind == 8:
        picture.convert("1").save(folder / f"{name}-one-bit.png")
    elif kind == 9:
        grey = np.asarray(picture.convert("L")).astype(np.float32) * 40 + 1000
        Image.fromarray(grey).save(folder / f"{name}-float.tif")
    elif kind == 10:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(folder / f"{name}-transparent.webp")
    else:
        picture.save(folder / f"{name}.jpg", quality=90)


def make(root: Path) -> None:
    for kind, name in enumerate(("hills", "sea")):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(COUNT):
            save(scene(kind, number), folder, number)
    whole = (root / "hills" / "000.jpg").read_bytes()
    (root / "hills" / "cut-off.jpg").write_bytes(whole[: len(whole) // 2])
    # No such file is read: its name says enough.
    (root / "sea" / "IMG_0001.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    # What systems, archives and people leave beside the classes.
    for left in (".DS_Store", "hills/.DS_Store", "sea/Thumbs.db", "__MACOSX/hills/._000.jpg"):
        (root / left).parent.mkdir(parents=True, exist_ok=True)
        (root / left).write_bytes(b"Mac OS X")
    (root / "to sort").mkdir()
    (root / "cover.jpg").write_bytes(whole)


def nas(*arguments: object) -> str:
    command = [sys.executable, "-m", "nas", *map(str, arguments)]
    print("\n$ nas", *arguments, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    return done.stdout


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--steps", type=int, default=8)
    given = options.parse_args()
    out: Path = given.out
    photos = out / "photos"
    if not photos.exists():
        make(photos)
    data = f"folder:{photos}"
    nas("search", "--space", "mnasnet", "--device", "pixel", "--latency", "40ms", "--data", data,
        "--trials", 3, "--proxy", "images=640", "--out", out / "run")  # fmt: skip
    nas("pick", out / "run", "--out", out / "best.json")
    training = ("train", out / "best.json", "--data", data, "--resolution", 224, "--recipe",
                "mnasnet", "--set", "norm_momentum=0.1", "--steps", given.steps, "--batch-size",
                16, "--out", out / "trained")  # fmt: skip
    nas(*training, "--show-batch", out / "batch.png")
    nas(*training)
    nas("export", out / "trained/architecture.json", "--weights", out / "trained", "--to",
        "python,onnx,json", "--name", "scenery", "--out", out / "shipped")  # fmt: skip
    chosen = sorted(photos.glob("*/0[01][0-9]*"))
    shown = {}
    for network in (out / "shipped/scenery.onnx", out / "shipped/scenery.py", out / "trained"):
        shown[network] = json.loads(nas("predict", network, *chosen, "--json"))
    first, *others = shown.values()
    largest = 0.0
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            shares = {row["class"]: row["probability"] for row in theirs["classes"]}
            for row in ours["classes"]:
                largest = max(largest, abs(row["probability"] - shares[row["class"]]))
    print(f"largest difference of a probability between the three: {largest:.1e}")


if __name__ == "__main__":
    main()
