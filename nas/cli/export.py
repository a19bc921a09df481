"""``nas export``: a network as files that run without the toolkit: Python, ONNX, JSON."""

import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from nas import export
from nas.arch import Architecture
from nas.backbone import backbone
from nas.cli._options import json_option, print_json
from nas.data import Dataset, load
from nas.errors import ExistsError, UsageError
from nas.measure.int8 import Quantised, quantise
from nas.metadata import Metadata
from nas.model.weights import Weights, read_weights
from nas.run.network import metadata_of, named_network

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas export runs/fbnet --to python,onnx,json --out shipped
  nas export runs/fbnet:12 --out shipped --name winner --weights winner.pt
  nas export mobilenet_v2 --classes 10 --to onnx --out shipped
  nas export runs/fbnet --features --to python,onnx --out backbone
  nas export trained/architecture.json --weights trained/weights.pt --int8 --calibrate folder:photos --out shipped
  nas export streets/architecture.json --weights streets --out shipped     # of nas train --task segmentation"""
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
    help="State dict, or a folder of nas train; a segmenter's ship a class per pixel.",
)
@click.option(
    "--features", is_flag=True, help="Without the head: maps at strides 4 to 32, input of any size."
)
@click.option(
    "--int8",
    is_flag=True,
    help="Quantise the ONNX file too, as NAME.int8.onnx; needs --weights, --calibrate.",
)
@click.option(
    "--calibrate",
    metavar="DATA",
    help="Data set of the training, whose weights set gives the ranges.",
)
@click.option(
    "--calibration-images",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="How many of them.",
)
@click.option(
    "--score-test", is_flag=True, help="Score both files on the test set too, which is counted."
)
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.option(
    "--width",
    type=click.FloatRange(0.05, 20),
    default=1.0,
    help="Channel multiplier, as published.",
)
@click.option("--resolution", type=click.IntRange(8, 4096), help="Input size in pixels.")
@click.option("--classes", type=click.IntRange(1, 65536), help="Output classes.")
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
    resolution: int | None,
    classes: int | None,
    as_json: bool,
) -> None:
    """Write NETWORK as NAME.py, NAME.onnx and NAME.json, and its trained weights as NAME.pt.

    NETWORK is a published name (nas networks), an architecture.json, or RUN[:TRIAL]. Before a file
    appears, an interpreter that cannot import nas has run it: parameters, MACs and logits are the
    source's.
    """
    architecture = named_network(network, width=width, resolution=resolution, classes=classes)
    formats = [kind.strip() for kind in to.split(",") if kind.strip()]
    if int8 and features:
        raise UsageError("--int8 scores logits, and --features ships none: leave one of them out")
    dataset = _calibration(int8, calibrate, weights, formats, score_test)
    given = None if weights is None else read_weights(weights)
    pixels = 0 if features else export.pixel_classes(given)
    if int8 and pixels:
        raise UsageError(
            "--int8 scores a class per image, and these weights are a segmenter's: leave --int8 out"
        )
    if (
        dataset is not None
        and not force
        and (file := out / f"{name or default_name(network)}.int8.onnx").exists()
    ):
        raise ExistsError(
            f"{file} exists: choose another --name or --out, or overwrite it with --force"
        )
    made = export.export(
        architecture, out, name=default_name(network) if name is None else name,
        formats=formats, weights=given, metadata=_metadata(network, given).fitting(architecture, pixels), features=features,
        force=force,
    )  # fmt: skip
    found = backbone(architecture) if features else None
    document = _document(architecture if found is None else found.architecture, made)
    if pixels:
        document["pixel_classes"] = pixels
    if found is not None:
        document["maps"] = [
            {"stride": tap.stride, "layer": tap.name, "channels": tap.channels, "onnx": tap.output}
            for tap in found.taps
        ]
    lines = list(made.weights.lines()) if made.weights else []
    if dataset is not None:
        source = made.files["onnx"]
        quantised = quantise(
            source,
            dataset,
            source.with_suffix(".int8.onnx"),
            images=calibration_images,
            test=score_test,
        )
        document["int8"] = _int8_document(quantised)
        lines += quantised.lines()
    if as_json:
        print_json(document)
    else:
        click.echo("\n".join([*_lines(document), *lines]))


def _metadata(network: str, weights: Weights | None) -> Metadata:
    """The network's own; where its weights lie beside the network of a training, that one's, with its normalisation."""
    if weights is None:
        return metadata_of(network)
    beside = weights.file.parent / "architecture.json"
    known = metadata_of(network)
    if known.mean or not beside.is_file():
        return known
    trained = metadata_of(str(beside))
    return replace(trained, classes=known.classes or trained.classes)


def _calibration(
    int8: bool, calibrate: str | None, weights: Path | None, formats: list[str], score_test: bool
) -> Dataset | None:
    """The data set of --calibrate; None where no int8 file is asked for."""
    if not int8:
        if calibrate is not None or score_test:
            raise UsageError("--calibrate and --score-test have a meaning only with --int8")
        return None
    if calibrate is None:
        raise UsageError(
            "--int8 needs --calibrate DATA: its ranges come from real images, such as --calibrate digits"
        )
    if weights is None:
        raise UsageError(
            "--int8 needs --weights FILE: ranges and accuracy of an untrained network say nothing"
        )
    if "onnx" not in formats:
        raise UsageError("--int8 quantises the ONNX file: put onnx into --to")
    return load(calibrate)


def _int8_document(made: Quantised) -> dict[str, Any]:
    test = made.test_accuracy
    return {
        "file": str(made.file),
        "calibration_images": made.images,
        "selection_accuracy": {"before": made.accuracy[0], "after": made.accuracy[1]},
        "test_accuracy": None if test is None else {"before": test[0], "after": test[1]},
        "test_openings": made.test_openings,
        "latency_ms": {
            name: t.latency_ms for name, t in zip(("before", "after"), made.latency, strict=True)
        },
        "latency_sd_ms": {
            name: t.sd_ms for name, t in zip(("before", "after"), made.latency, strict=True)
        },
        "size_bytes": dict(zip(("before", "after"), made.size_bytes, strict=True)),
    }


def default_name(network: str) -> str:
    """Name of the files for a NETWORK as it was given: ``runs/fbnet:12`` becomes ``fbnet_12``."""
    folder, _, trial = network.rpartition(":")
    run = bool(folder) and Path(folder).is_dir()
    stem = f"{Path(folder).name}_{trial}" if run else Path(network).name.removesuffix(".json")
    text = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_")
    return text if text.isidentifier() else f"network_{text}".rstrip("_")


def _document(architecture: Architecture, made: export.Exported) -> dict[str, Any]:
    return {
        "digest": architecture.digest,
        "params": made.params,
        "macs": made.macs,
        "files": {kind: str(path) for kind, path in made.files.items()},
        "trained": made.trained,
        "weights": None if made.weights is None else dataclasses.asdict(made.weights),
        "largest_difference": {
            "python": made.python_difference,
            "onnx": made.onnx_difference,
            "tflite": made.tflite_difference,
        },
    }


def _lines(document: dict[str, Any]) -> list[str]:
    """The files, what was verified about each, and whether there are trained weights."""
    checked = {
        "python": "parameters, MACs and logits are the source's",
        "onnx": f"any batch, opset {export.OPSET}; logits are the source's",
        "json": "architecture",
        "weights": "trained weights",
        "timm": "architecture string for timm, with its model's arguments",
        "coreml": "converted, not executed here",
        "tflite": "for LiteRT, batch 1; run here, outputs are the source's",
    }
    if "maps" in document:
        checked |= {
            "python": "parameters, MACs and maps are the source's, at two sizes",
            "onnx": f"any batch and size, opset {export.OPSET}; maps are the source's",
        }
    if "pixel_classes" in document:
        checked |= {
            "python": "parameters, MACs and logits per pixel are the source's",
            "onnx": f"any batch and size, opset {export.OPSET}; logits are the source's, mask is their largest",
            "json": "architecture of the body",
        }
    lines = [
        f"architecture {document['digest']}: {document['params']:,} params, {document['macs']:,} MACs"
    ]
    for kind, path in document["files"].items():
        difference = document["largest_difference"].get(kind)
        lines.append(
            f"  {path}  {checked[kind]}"
            + (
                ""
                if difference is None
                else f" (to {difference:.0e})"
                if difference
                else ", exactly"
            )
        )
    for tap in document.get("maps", ()):
        lines.append(
            f"  stride {tap['stride']:2}  {tap['channels']} channels, after {tap['layer']}; {tap['onnx']} in ONNX"
        )
    if document["weights"] is None:
        lines.append(
            "Weights: untrained. --weights FILE takes a state dict of the trained network."
        )
    return lines
