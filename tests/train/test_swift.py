import pytest

torch = pytest.importorskip("torch")

from nas.arch import Architecture, Stage
from nas.catalog import space_names, space_of
from nas.model import build
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.shape import Shape
from nas.train import swift
