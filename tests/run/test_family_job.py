"""Families from Python: what `nas scale` does, without the command line."""

import json

import pytest

from nas.arch import Architecture
from nas.errors import ExistsError
from nas.run.family import Base, check_free, open_base, preset_family


def test_a_published_family_is_made_and_saved(tmp_path):
    base = open_base("efficientnet_b0", device="pixel")
    family = preset_family(base, "efficientnet", members=2)
    assert [member.network.params for member in family.members] == [5_288_548, 7_794_184, 9_109_994]
    assert family.costs == []
    family.save(tmp_path)
    names = [f"{member.name}.json" for member in family.members]
    assert {path.name for path in tmp_path.iterdir()} == {*names, "family.json", "family.png"}
    document = json.loads((tmp_path / "family.json").read_text())
    assert document == json.loads(json.dumps(family.to_json()))
    assert Architecture.load(tmp_path / names[1]) == family.members[1].network


def test_a_folder_that_holds_a_family_is_not_free(tmp_path):
    check_free(tmp_path)
    (tmp_path / "family.json").write_text("{}")
    check_free(tmp_path, overwrite=True)
    with pytest.raises(ExistsError, match="holds a family: choose another --out, or overwrite it"):
        check_free(tmp_path)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("efficientnet_b0", "efficientnet_b0"),
        ("some/where/net.json", "net"),
        ("runs/fbnet:12", "fbnet_12"),
        ("runs/fbnet/:best", "best"),
        ("...", "network"),
    ],
)
def test_members_are_named_after_the_base(source, name):
    base = Base(source=source, network=open_base("mobilenet_v2").network)
    assert (base.name, base.unit) == (name, "macs")
