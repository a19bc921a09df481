# ruff: noqa: E402
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from nas.arch import Architecture, Stage
from nas.backbone import STRIDES, backbone
from nas.data import Statistics, split
from nas.data.masks import IGNORED, LazyMasks, load_masks
from nas.errors import ArchitectureError, DataError, TrainingError, UsageError
from nas.model import build
from nas.model.features import features_of
from nas.model.segmenter import body, segmenter
from nas.networks import get
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape
from nas.train.full import FullTraining
from nas.train.recipe import Recipe
from nas.train.segmentation import score_masks


def network(size: int = 32) -> Architecture:
    body = tuple(Conv(kernel=3, channels=16, stride=2) for _ in range(5))
    return Architecture(
        Shape(1, size), (Stage("body", body), Stage("head", (Classifier(classes=9),)))
    )


@pytest.mark.parametrize("size", [64, 50])
def test_features_are_the_networks_own_maps_at_each_stride(size):
    net = build(get("mobilenet_v3_small", width=0.5, resolution=224, classes=3)).eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    seen = []
    hooks = [
        layer.register_forward_hook(lambda m, i, out: seen.append(out))
        for stage in net.stages
        for layer in stage
    ]
    with torch.no_grad():
        net(images)
        whole = list(seen)
        seen.clear()
        maps = features_of(net, backbone(net.architecture))(images)
    assert [m.shape[2] for m in maps] == [-(-size // stride) for stride in STRIDES]
    for stride, found in zip(STRIDES, maps, strict=True):
        same = [m for m in whole[:-2] if m.shape[2] == -(-size // stride)]
        torch.testing.assert_close(found, same[-1])
    assert len(hooks) > len(seen)  # the head is not computed


def test_a_trunk_takes_the_weights_of_its_network():
    whole = get("mobilenet_v2", width=0.25, resolution=64)
    cut = body(whole).architecture
    state = build(whole).state_dict()
    build(cut).load_state_dict({name: state[name] for name in build(cut).state_dict()})
    assert cut.out_shape.size == 4


def test_a_network_without_such_a_stride_is_one_line():
    shallow = Architecture(Shape(1, 8), (Stage("body", (Conv(kernel=3, channels=8, stride=2),)),))
    with pytest.raises(
        ArchitectureError,
        match=r"no map of stride 8: its strides are 2\. Take a network with that stride",
    ):
        segmenter(shallow, 2, 0)


def write(folder, clothes: np.ndarray, boxes: np.random.Generator, size: int = 48) -> None:
    """Real garments on canvases; a pixel is one where its garment was brighter than an eighth."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number, garment in enumerate(clothes):
        canvas, mask = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
        row, column = boxes.integers(size - 28, size=2)
        canvas[row : row + 28, column : column + 28] = garment
        mask[row : row + 28, column : column + 28] = garment > 32
        mask[0] = IGNORED
        Image.fromarray(canvas).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    from nas.data.fashion_mnist import DEBIAN_FOLDER, read

    if not DEBIAN_FOLDER.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    folder = tmp_path_factory.mktemp("masks") / "clothes"
    write(folder, read(None).images[:120, :, :, 0], np.random.default_rng(0))
    (folder / "classes.txt").write_text("nothing\ngarment\n")
    return folder


def test_garments_are_found_on_their_canvas_and_a_kill_changes_nothing(clothes, tmp_path):
    data = load_masks(f"folder:{clothes}", size=48)
    assert (data.classes, data.labels.shape) == (("nothing", "garment"), (120, 48, 48))
    assert len(split(data).selection) > 10
    recipe = Recipe(steps=30, batch_size=8, lr=0.1, resolution=32, average=0.2, shift=0.1)
    training = FullTraining(network(), data, tmp_path / "a", recipe)
    result = training.run()
    assert result["task"] == "segmentation"
    assert result["test"]["miou"] > 0.55  # of naming all pixels one class: below 0.4
    assert result["test"]["pixel_accuracy"] > 0.75

    def stop(watched):
        if watched.done == 12:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        FullTraining(network(), data, tmp_path / "b", recipe).run(checkpoint_seconds=0, watch=stop)
    FullTraining(network(), data, tmp_path / "b", recipe).run()
    first, second = (torch.load(tmp_path / n / "weights.pt", weights_only=True) for n in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
    again = FullTraining(
        network(), data, tmp_path / "c", Recipe(steps=1, resolution=32), weights=tmp_path / "a"
    )
    assert again.loaded.whole
    again.run()


def test_a_classifier_gives_its_body(clothes, tmp_path):
    source = build(network(), seed=3)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    training = FullTraining(
        network(),
        load_masks(f"folder:{clothes}"),
        tmp_path / "d",
        Recipe(steps=1),
        weights=tmp_path / "w.pt",
    )
    made = training._training().network.state_dict()
    own = source.state_dict()
    assert all(torch.equal(own[name], made[f"backbone.{name}"]) for name in training.loaded.loaded)
    assert len(training.loaded.head) == len(
        [name for name in made if not name.startswith("backbone.")]
    )
    assert not training.loaded.missing


def test_groups_of_masked_images_stay_together(clothes, tmp_path):
    file = tmp_path / "groups.csv"
    file.write_text(
        "filename,group\n" + "".join(f"{number}.png,{number // 6}\n" for number in range(120))
    )
    data = load_masks(f"folder:{clothes}", groups=str(file))
    parts = split(data)
    rows = [parts.weights, parts.search, parts.selection]
    rows.append(np.setdiff1d(np.arange(len(data)), np.concatenate(rows)))  # those of the test set
    sets = [set(data.groups[part].tolist()) for part in rows]
    assert all(sets)
    assert sum(map(len, sets)) == 20
    file.write_text(
        "filename,group\n" + "".join(f"{number}.png,{number % 3}\n" for number in range(120))
    )
    with pytest.raises(DataError, match="data set 'clothes' has too few groups for 4 sets"):
        split(load_masks(f"folder:{clothes}", groups=str(file)))


def test_miou_is_the_mean_of_intersections_over_unions():
    truth = torch.tensor([[[0, 0, 1], [1, 1, 255], [2, 2, 255]]])
    named = torch.tensor([[[0, 1, 1], [1, 0, 0], [2, 2, 1]]])

    class Says(torch.nn.Module):
        def forward(self, images):
            return torch.nn.functional.one_hot(named, 4).permute(0, 3, 1, 2).float()

    found = score_masks(Says(), torch.zeros(1, 1, 3, 3), truth)
    assert found["miou"] == pytest.approx(
        (1 / 3 + 2 / 4 + 2 / 2) / 3
    )  # the fourth class is nowhere
    assert found["pixel_accuracy"] == pytest.approx(5 / 7)


def test_a_class_that_does_not_occur_has_no_part_in_the_mean():
    class Says(torch.nn.Module):
        def forward(self, images):
            named = torch.tensor([[[0, 1, 2], [1, 0, 2]]])
            return torch.nn.functional.one_hot(named, 3).permute(0, 3, 1, 2).float()

    found = score_masks(Says(), torch.zeros(1, 1, 2, 3), torch.tensor([[[0, 1, 1], [1, 0, 0]]]))
    assert found["miou"] == pytest.approx((2 / 3 + 2 / 3) / 2)  # what is named 2 costs 0 and 1
    assert found["classes"] == 2
    with pytest.raises(TrainingError, match="cannot score masks in which no pixel has a class"):
        score_masks(Says(), torch.zeros(1, 1, 2, 3), torch.full((1, 2, 3), IGNORED))


def test_masks_are_resized_by_their_nearest_pixel():
    masks = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    lazy = LazyMasks(masks, np.array([0]), 2, torch.device("cpu"))
    assert lazy[torch.tensor([0])].tolist() == [[[5, 7], [13, 15]]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: (f / "masks" / "0.png").unlink(),
            "every image needs a mask of its name; 1 stand alone, such as 0",
        ),
        (
            lambda f: Image.new("L", (3, 3)).save(f / "masks" / "0.png"),
            r"mask .*0.png is \(3, 3\) pixels, its image \(48, 48\)",
        ),
        (
            lambda f: Image.new("RGB", (48, 48)).save(f / "masks" / "0.png"),
            "must be grey or of a palette, .* not RGB",
        ),
        (
            lambda f: Image.new("L", (48, 48), 7).save(f / "masks" / "0.png"),
            "masks must hold 0 to 1, or 255 for nothing, not 7",
        ),
        (lambda f: (f / "masks" / "0.png").write_bytes(b"no"), "cannot read mask"),
        (
            lambda f: (f / "masks").rename(f / "mask"),
            "no folder .*masks: segmentation reads images/ and masks/",
        ),
        (
            lambda f: (f / "images" / "1.png").write_bytes(b"no image"),
            r"images.1\.png: cannot read an image: .*\. Remove it and its mask$",
        ),
        (
            lambda f: (f / "classes.txt").write_text("road\nground\nroad\n"),
            "names class 'road' twice",
        ),
        (
            lambda f: (f / "classes.txt").write_text("ground\nro\x13ad\n"),
            r"the name 'ro\\x13ad' holds a control character",
        ),
    ],
)
def test_bad_masks_are_one_line(tmp_path, spoil, message):
    folder = tmp_path / "few"
    write(folder, np.full((3, 28, 28), 99, np.uint8), np.random.default_rng(0))
    (folder / "classes.txt").write_text("nothing\ngarment\n")
    spoil(folder)
    with pytest.raises(DataError, match=message):
        load_masks(f"folder:{folder}", size=48)


def halves(folder, low, high, names="background\nforeground\n", count=8):
    """Images whose lower half is of another class, and what systems leave beside them."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(count):
        mask = np.full((12, 12), low, np.uint8)
        mask[6:] = high
        Image.fromarray(mask // 2 + number).save(folder / "images" / f"{number}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    for left in (folder / "images" / "Thumbs.db", folder / "masks" / ".DS_Store"):
        left.write_bytes(b"x")
    if names:
        (folder / "classes.txt").write_bytes(names.encode("utf-8-sig"))
    return f"folder:{folder}"


@pytest.mark.parametrize("names", ["background\nforeground\n", ""])
def test_masks_of_0_and_255_are_not_taken_for_one_class(tmp_path, names):
    spec = halves(tmp_path / "a", 0, 255, names)
    with pytest.raises(
        DataError,
        match=r"255 means none; write the foreground as 1, or give --mask-values 0,255$",
    ):
        load_masks(spec, size=12)
    data = load_masks(spec, size=12, values=(0, 255))
    assert np.unique(data.labels).tolist() == [0, 1]
    assert len(data.classes) == 2
    assert not data.remarks
    assert np.unique(load_masks(spec, size=12, values=(255, 0)).labels[0, 0]) == [1]


@pytest.mark.parametrize(
    ("low", "high", "names", "values", "message"),
    [
        (0, 255, "", (0, 128), "of .*a hold one class alone, '0': there is nothing to tell"),
        (7, 128, "", (0, 255), r"mask .*0\.png holds 7, 128, which --mask-values does not name"),
        (0, 128, "a\nb\nc\n", (0, 128), r"classes\.txt names 3 classes, and --mask-values has 2 v"),
        (1, 1, "a\nb\n", None, "of .*a hold one class alone, 'b': there is nothing to tell it"),
        (255, 255, "a\nb\n", None, "of .*a hold 255 alone, which means none"),
    ],
)
def test_masks_without_two_classes_are_one_line(tmp_path, low, high, names, values, message):
    with pytest.raises(DataError, match=message):
        load_masks(halves(tmp_path / "a", low, high, names), size=12, values=values)


def test_classes_in_no_mask_and_masks_without_a_class_are_told(tmp_path):
    spec = halves(tmp_path / "a", 0, 2, "\n".join(["road", "car", "sky", "tree", "bus"]))
    Image.new("L", (12, 12), IGNORED).save(tmp_path / "a" / "masks" / "5.png")
    data = load_masks(spec, size=12)
    assert len(data) == 7
    assert data.remarks == (
        "1 image left out, whose mask is 255 alone: 5.jpg",
        "no mask holds 3 of 5 classes: car, tree, bus",
    )


def test_two_files_of_one_name_are_one_line(tmp_path):
    spec = halves(tmp_path / "a", 0, 1)
    Image.new("L", (12, 12)).save(tmp_path / "a" / "masks" / "3.tif")
    with pytest.raises(DataError, match=r"masks holds 3\.png and 3\.tif: image and mask go"):
        load_masks(spec, size=12)


def test_what_cannot_be_segmented_is_one_line(clothes, tmp_path):
    with pytest.raises(
        UsageError, match=r"segmentation reads folder:DIR with images/ and masks/, not 'digits'"
    ):
        load_masks("digits")
    with pytest.raises(
        UsageError, match=r"mixup changes images, not their masks: leave it out by --set mixup=0"
    ):
        FullTraining(network(), load_masks(f"folder:{clothes}"), tmp_path / "x", Recipe(mixup=0.2))


def test_masks_lie_on_the_first_batch_in_colours(tmp_path):
    from nas.train.picture import draw_batch

    images, masks = torch.zeros(1, 1, 64, 80), torch.zeros(1, 64, 80, dtype=torch.int64)
    masks[0, :32], masks[0, 40:] = 1, IGNORED
    draw_batch(tmp_path / "a.png", images, masks, Statistics((0.5,), (1.0,)), ("ground", "road"))
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (80 + 4, 64 + 4 + 14)
        assert [sheet.getpixel((79, row)) for row in (0, 35, 63)] == [
            (191, 191, 64),
            (128, 128, 128),
            (0, 0, 0),
        ]
