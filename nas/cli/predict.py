"""``nas predict``: what a trained or exported network says of image files."""

from pathlib import Path
from typing import Any

import click

from nas.cli._options import json_option, print_json
from nas.errors import DataError
from nas.export.predict import predictor

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas predict shipped/winner.onnx cat.jpg dog.jpg
  nas predict shipped/winner.py cat.jpg --top 3      # reads shipped/winner.pt too
  nas predict trained/photos *.jpg --json"""
)
@click.argument("network", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, help="Classes that are shown."
)
@json_option
def command(network: Path, images: tuple[Path, ...], top: int, as_json: bool) -> None:
    """Name the likeliest classes of IMAGES, with probabilities.

    NETWORK is an exported .onnx or .py file, or a folder of nas train. Nothing but what it says of
    itself is used: class names, and what was done to images in its training. A .py file is run.
    """
    predict = predictor(network)
    documents: list[dict[str, Any]] = []
    faults: list[str] = []
    for image in images:
        try:
            probabilities = list(predict.probabilities(image).items())[:top]
        except DataError as error:
            faults.append(f"{image}: {error}")
            continue
        classes = [{"class": name, "probability": share} for name, share in probabilities]
        documents.append({"image": str(image), "classes": classes})
        if not as_json:
            named = "  ".join(f"{name} {share:.4f}" for name, share in probabilities)
            click.echo(f"{image}  {named}")
    if as_json:
        print_json(documents)
    if faults:
        more = f"; {len(faults) - 1} more" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}")
