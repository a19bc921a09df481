"""``nas export``: a network as files that run without the toolkit: Python, ONNX, JSON."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import click

from nas import export
from nas.arch import Architecture
from nas.backbone import backbone
from nas.cli._options import SIZE, Pixels, json_option, print_json, small_images_option
from nas.data import Dataset, load
from nas.errors import ExistsError, UsageError
from nas.measure.int8 import CALIBRATION_IMAGES, Quantised, quantise
from nas.metadata import Metadata
from nas.model.weights import Weights, read_weights
from nas.report.live import Live
from nas.run.network import metadata_of, named_network, run_and_trial
from nas.size import Size

__all__ = ["command"]

INT8_SUFFIX = ".int8.onnx"


@click.command(
    epilog="""\b
Examples:
  nas export runs/fbnet --to python,onnx,json --out shipped
  nas export runs/fbnet:12 --out shipped --name winner --weights winner.pt
  nas export mobilenet_v2 --classes 10 --to onnx --out shipped
  nas export mobilenet_v2 --weights torchvision:mobilenet_v2 --to onnx --out shipped
  nas export runs/fbnet --features --to python,onnx --out backbone
  nas export trained/architecture.json --weights trained/weights.pt --out shipped \\
      --int8 --calibrate folder:photos
  nas export streets/architecture.json --weights streets --out shipped  # of --task segmentation"""
)
@click.argument("network")
@click.option(
    "--to",
    default="python,onnx,json",
    show_default=True,
    metavar="LIST",
    help="Formats, with commas; also timm, coreml, tflite.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--name", help="Name of the files.  [default: the network's]")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="State dict, hf:REPO, timm:NAME, torchvision:NAME, or a folder of nas train. A "
    "segmenter's make files that name a class per pixel.",
)
@click.option(
    "--features",
    is_flag=True,
    help="Leave the head out: maps at strides 4 to 32, for images of any size.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Quantise the ONNX file too, as NAME.int8.onnx. Needs --weights and --calibrate.",
)
@click.option(
    "--calibrate",
    metavar="DATA",
    help="Data set of the training. Its weights set gives the ranges of the int8 file.",
)
@click.option(
    "--calibration-images",
    type=click.IntRange(1),
    default=CALIBRATION_IMAGES,
    show_default=True,
    help="Images that the int8 file is calibrated with.",
)
@click.option(
    "--score-test",
    is_flag=True,
    help="Score both ONNX files on the test set too. Each time is counted.",
)
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.option(
    "--width",
    type=click.FloatRange(0.05, 16),
    default=1.0,
    help="Multiplier of all channels.  [default: 1, as published]",
)
@click.option("--resolution", type=Pixels(), help=SIZE)
@click.option("--classes", type=click.IntRange(1, 65536), help="Output classes.")
@small_images_option
@json_option
def command(
    network: str,
    to: str,
    out: Path,
    name: str | None,
    weights: Path | None,
    features: bool,
    int8: bool,
    calibrate: str | None,
    calibration_images: int,
    score_test: bool,
    force: bool,
    width: float,
    resolution: Size | None,
    classes: int | None,
    small_images: bool,
    as_json: bool,
) -> None:
    """Write NETWORK as NAME.py, NAME.onnx and NAME.json, and its trained weights as NAME.pt.

    NETWORK is a published name (nas networks), an architecture.json, or RUN[:TRIAL]. Before a file
    appears, an interpreter that cannot import nas has run it: parameters, MACs and logits are the
    source's.
    """
    architecture = named_network(
        network, width=width, resolution=resolution, classes=classes, small_images=small_images
    )
    formats = [kind.strip() for kind in to.split(",") if kind.strip()]
    name = default_name(network) if name is None else name
    dataset = None
    if int8:
        dataset = _calibration(calibrate, weights, formats, features, Live(quiet=as_json))
    elif calibrate is not None or score_test:
        raise UsageError("--calibrate and --score-test have a meaning only with --int8")
    parameters = None if weights is None else read_weights(weights)
    # A backbone has no head, whatever its weights were trained with.
    pixels = 0 if features else export.pixel_classes(parameters)
    if int8 and pixels:
        raise UsageError(
            "--int8 scores a class per image, and these weights are a segmenter's: leave --int8 out"
        )
    # Before the export, not after it: quantising comes last and takes the longest.
    quantised_file = out / f"{name}{INT8_SUFFIX}"
    if int8 and not force and quantised_file.exists():
        raise ExistsError(
            f"{quantised_file} exists: choose another --name or --out, or overwrite it with --force"
        )
    exported = export.export(
        architecture,
        out,
        name=name,
        formats=formats,
        weights=parameters,
        metadata=_metadata(network, parameters).fitting(architecture, pixels),
        features=features,
        force=force,
    )
    document = _document(architecture, exported, features=features, pixels=pixels)
    lines = _lines(document)
    if exported.weights:
        lines += exported.weights.lines()
    if dataset is not None:
        quantised = quantise(
            exported.files["onnx"],
            dataset,
            quantised_file,
            images=calibration_images,
            test=score_test,
        )
        document["int8"] = _int8_document(quantised)
        lines += quantised.lines()
    if as_json:
        print_json(document)
    else:
        click.echo("\n".join(lines))


def _metadata(network: str, weights: Weights | None) -> Metadata:
    """The network's own, or that of the training whose network lies beside the weights.

    A run knows its class names, but not how a later training normalised its images.
    """
    own = metadata_of(network)
    if weights is None:
        return own
    beside = weights.file.parent / "architecture.json"
    if own.mean or not beside.is_file():
        return own
    trained = metadata_of(str(beside))
    return dataclasses.replace(trained, classes=own.classes or trained.classes)


def _calibration(
    calibrate: str | None,
    weights: Path | None,
    formats: list[str],
    features: bool,
    live: Live,
) -> Dataset:
    """The data set of --calibrate."""
    if features:
        raise UsageError("--int8 scores logits, and --features ships none: leave one of them out")
    if calibrate is None:
        raise UsageError(
            "--int8 needs --calibrate DATA: its ranges come from real images, "
            "such as --calibrate digits"
        )
    if weights is None:
        raise UsageError(
            "--int8 needs --weights FILE: ranges and accuracy of an untrained network say nothing"
        )
    if "onnx" not in formats:
        raise UsageError("--int8 quantises the ONNX file: put onnx into --to")
    return load(calibrate, watch=live.read)


def _int8_document(quantised: Quantised) -> dict[str, Any]:
    before, after = quantised.latency
    test_accuracy = None
    if quantised.test_accuracy is not None:
        test_accuracy = _before_after(*quantised.test_accuracy)
    return {
        "file": str(quantised.file),
        "calibration_images": quantised.images,
        "selection_accuracy": _before_after(*quantised.accuracy),
        "test_accuracy": test_accuracy,
        "test_openings": quantised.test_openings,
        "latency_ms": _before_after(before.latency_ms, after.latency_ms),
        "latency_sd_ms": _before_after(before.sd_ms, after.sd_ms),
        "size_bytes": _before_after(*quantised.size_bytes),
    }


def _before_after(before: float, after: float) -> dict[str, float]:
    return {"before": before, "after": after}


def default_name(network: str) -> str:
    """Name of the files for a NETWORK: ``runs/fbnet:12`` becomes ``fbnet_12``."""
    place, trial = run_and_trial(network)
    stem = f"{place.name}_{trial}" if trial else place.name.removesuffix(".json")
    text = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_")
    # The Python file is imported by this name.
    return text if text.isidentifier() else f"network_{text}".rstrip("_")


def _document(
    architecture: Architecture, exported: export.Exported, *, features: bool, pixels: int
) -> dict[str, Any]:
    layers = backbone(architecture) if features else None
    shipped = architecture if layers is None else layers.architecture
    weights = exported.weights
    document: dict[str, Any] = {
        "digest": shipped.digest,
        "params": exported.params,
        "macs": exported.macs,
        "files": {kind: str(path) for kind, path in exported.files.items()},
        "trained": exported.trained,
        "weights": None if weights is None else dataclasses.asdict(weights),
        "largest_difference": {
            "python": exported.python_difference,
            "onnx": exported.onnx_difference,
            "tflite": exported.tflite_difference,
        },
    }
    if pixels:
        document["pixel_classes"] = pixels
    if layers is not None:
        document["maps"] = [
            {"stride": tap.stride, "layer": tap.name, "channels": tap.channels, "onnx": tap.output}
            for tap in layers.taps
        ]
    return document


def _lines(document: dict[str, Any]) -> list[str]:
    """The files, what was verified about each, and whether there are trained weights."""
    lines = [
        f"architecture {document['digest']}: "
        f"{document['params']:,} params, {document['macs']:,} MACs"
    ]
    verified = _verified(document)
    for kind, path in document["files"].items():
        difference = document["largest_difference"].get(kind)
        lines.append(f"  {path}  {verified[kind]}{_how_close(difference)}")
    for tap in document.get("maps", ()):
        lines.append(
            f"  stride {tap['stride']:2}  {tap['channels']} channels, after {tap['layer']}; "
            f"{tap['onnx']} in ONNX"
        )
    if document["weights"] is None:
        lines.append(
            "Weights: untrained. --weights FILE takes a state dict of the trained network."
        )
    return lines


def _verified(document: dict[str, Any]) -> dict[str, str]:
    """By format, what its file was checked for."""
    sentences = {
        "python": "parameters, MACs and logits are the source's",
        "onnx": f"any batch, opset {export.OPSET}; logits are the source's",
        "json": "architecture",
        "weights": "trained weights",
        "timm": "architecture string for timm, with its model's arguments",
        "coreml": "converted, not executed here",
        "tflite": "for LiteRT, batch 1; run here, outputs are the source's",
    }
    any_size = f"any batch and size, opset {export.OPSET}"
    if "maps" in document:
        sentences["python"] = "parameters, MACs and maps are the source's, at two sizes"
        sentences["onnx"] = f"{any_size}; maps are the source's"
    if "pixel_classes" in document:
        sentences["python"] = "parameters, MACs and logits per pixel are the source's"
        sentences["onnx"] = f"{any_size}; logits are the source's, mask is their largest"
        sentences["json"] = "architecture of the body"
    return sentences


def _how_close(difference: float | None) -> str:
    """The end of a file's line; nothing if it was not compared."""
    if difference is None:
        return ""
    return f" (to {difference:.0e})" if difference else ", exactly"
