"""Files of weights by the names under which people publish them.

    hf:OWNER/REPO[/FILE][@REVISION]   the Hugging Face hub, by its own cache (HF_HUB_CACHE)
    timm:NAME[@REVISION]              hf:timm/NAME/model.safetensors
    torchvision:NAME[@VERSION]        torchvision's published file, in torch's cache (TORCH_HOME)

What a cache holds is taken from there without asking the network, so that a command given again
reads the same file. The files of torchvision are those that torchvision 0.29 names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from nas.errors import ArchitectureError, UsageError, unknown
from nas.files import one_line

__all__ = ["HUBS", "Found", "find"]

HUBS = ("hf:", "timm:", "torchvision:")
PREFERRED = ("model.safetensors", "pytorch_model.bin")
"""Of a repository's files, if none is named."""
OF_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".tar")
LISTED = 6
COMMIT = re.compile(r"/models--[^/]+/snapshots/([0-9a-f]{40})/")
"""In the path of a file of the hub's cache, whose layout is public."""
TORCHVISION_URL = "https://download.pytorch.org/models/"
TORCHVISION = {
    "efficientnet_b0": ("efficientnet_b0_rwightman-7f5810bc.pth",),
    "efficientnet_b1": ("efficientnet_b1_rwightman-bac287d4.pth", "efficientnet_b1-c27df63c.pth"),
    "efficientnet_b2": ("efficientnet_b2_rwightman-c35c1473.pth",),
    "efficientnet_b3": ("efficientnet_b3_rwightman-b3899882.pth",),
    "efficientnet_b4": ("efficientnet_b4_rwightman-23ab8bcd.pth",),
    "efficientnet_b5": ("efficientnet_b5_lukemelas-1a07897c.pth",),
    "efficientnet_b6": ("efficientnet_b6_lukemelas-24a108a5.pth",),
    "efficientnet_b7": ("efficientnet_b7_lukemelas-c5b4e57e.pth",),
    "efficientnet_v2_l": ("efficientnet_v2_l-59c71312.pth",),
    "efficientnet_v2_m": ("efficientnet_v2_m-dc08266a.pth",),
    "efficientnet_v2_s": ("efficientnet_v2_s-dd5fe13b.pth",),
    "mnasnet0_5": ("mnasnet0.5_top1_67.823-3ffadce67e.pth",),
    "mnasnet0_75": ("mnasnet0_75-7090bc5f.pth",),
    "mnasnet1_0": ("mnasnet1.0_top1_73.512-f206786ef8.pth",),
    "mnasnet1_3": ("mnasnet1_3-a4c69d6f.pth",),
    "mobilenet_v2": ("mobilenet_v2-b0353104.pth", "mobilenet_v2-7ebf99e0.pth"),
    "mobilenet_v3_large": ("mobilenet_v3_large-8738ca79.pth", "mobilenet_v3_large-5c1a4163.pth"),
    "mobilenet_v3_small": ("mobilenet_v3_small-047dcff4.pth",),
    "resnet101": ("resnet101-63fe2227.pth", "resnet101-cd907fc2.pth"),
    "resnet152": ("resnet152-394f9c45.pth", "resnet152-f82ba261.pth"),
    "resnet18": ("resnet18-f37072fd.pth",),
    "resnet34": ("resnet34-b627a593.pth",),
    "resnet50": ("resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
    "resnext101_32x8d": ("resnext101_32x8d-8ba56ff5.pth", "resnext101_32x8d-110c445d.pth"),
    "resnext101_64x4d": ("resnext101_64x4d-173b62eb.pth",),
    "resnext50_32x4d": ("resnext50_32x4d-7cdf4587.pth", "resnext50_32x4d-1a0047aa.pth"),
    "wide_resnet101_2": ("wide_resnet101_2-32ee1156.pth", "wide_resnet101_2-d733dc28.pth"),
    "wide_resnet50_2": ("wide_resnet50_2-95faca4d.pth", "wide_resnet50_2-9ba9bcbe.pth"),
}
"""By torchvision's name: its files, IMAGENET1K_V1 first; the last is torchvision's default."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file of weights on this machine."""

    file: Path
    origin: str = ""
    """Which of its published versions it is."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file of a repository of the Hugging Face hub."""

    name: str
    """As it was asked for."""
    repo: str
    file: str
    """Its path there; empty for the usual one."""
    revision: str | None
    """A branch, tag or commit; None for the default branch."""

    def named(self, file: str) -> str:
        """How a file of that repository is asked for."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repo}/{file}{revision}"


def find(name: str | Path) -> Found | None:
    """The file that a published name stands for, fetched if no cache has it; None for other names.

    Raises `UsageError` for a name that stands for nothing, and `ArchitectureError` for a file that
    cannot be had, which says where to put it.
    """
    text = str(name)
    if not text.startswith(HUBS) or Path(text).exists():
        return None
    hub, _, rest = text.partition(":")
    if hub == "torchvision":
        return _of_torchvision(rest)
    if hub == "timm":
        model, _, revision = rest.partition("@")
        if not model or "/" in model:
            raise UsageError(f"{text[:80]} is not timm:NAME, as timm:mobilenetv3_large_100.ra_in1k")
        return _of_hub(
            Place(name=text, repo=f"timm/{model}", file=PREFERRED[0], revision=revision or None)
        )
    return _of_hub(_place(text, rest))


# -- torchvision ----------------------------------------------------------------------------------


def _of_torchvision(rest: str) -> Found:
    name, _, version = rest.partition("@")
    if name not in TORCHVISION:
        raise unknown("weights of torchvision", name, TORCHVISION)
    files = {f"IMAGENET1K_V{k + 1}": file for k, file in enumerate(TORCHVISION[name])}
    version = version or list(files)[-1]
    if version not in files:
        raise unknown(f"version of torchvision:{name}", version, files)
    file = Path(torch.hub.get_dir()) / "checkpoints" / files[version]
    if not file.is_file():
        _download(TORCHVISION_URL + file.name, file)
    return Found(file=file, origin=f"torchvision's {name}, {version}")


def _download(url: str, file: Path) -> None:
    """Whole or not at all, and only what has the digest that its name tells."""
    digest = file.stem.rpartition("-")[2]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), hash_prefix=digest)
    except (OSError, RuntimeError) as error:  # a digest that differs is a RuntimeError
        why = one_line(error, 120)
        raise ArchitectureError(
            f"cannot download {url}: {why}. Put the file at {file}, then give the same command"
        ) from None


# -- Hugging Face ---------------------------------------------------------------------------------


def _place(name: str, rest: str) -> Place:
    path, _, revision = rest.partition("@")
    parts = path.split("/")
    if not all(parts) or len(parts) < 2:
        raise UsageError(
            f"{name[:80]} is not hf:OWNER/REPO[/FILE][@REVISION], "
            "as hf:timm/mobilenetv3_large_100.ra_in1k"
        )
    owner, repo, *file = parts
    return Place(name=name, repo=f"{owner}/{repo}", file="/".join(file), revision=revision or None)


def _of_hub(place: Place) -> Found:
    hub = _library(place)
    try:
        file = _in_cache(hub, place) or _fetched(hub, place)
    except hub.errors.HFValidationError as error:
        why = one_line(error, 120)
        raise UsageError(f"{place.name[:80]} names no repository of the hub: {why}") from None
    commit = COMMIT.search(file.as_posix())
    at = f" at {commit[1][:12]}" if commit else ""
    return Found(file=file, origin=f"{file.name} of {place.repo}{at}")


def _library(place: Place) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise UsageError(
            f"weights {place.name[:80]} need the package huggingface_hub: "
            "pip install 'nas-toolkit[hub]', or give a file"
        ) from None
    return huggingface_hub


def _in_cache(hub: ModuleType, place: Place) -> Path | None:
    """The file in the hub's cache; None if it is not there."""
    name = place.file or _usual(_cached_names(hub, place), place)
    if not name:
        return None
    path = hub.try_to_load_from_cache(place.repo, name, revision=place.revision)
    return Path(path) if isinstance(path, str) else None


def _cached_names(hub: ModuleType, place: Place) -> list[str]:
    """The files of the repository that the cache has, at that revision."""
    try:
        cache = hub.scan_cache_dir()
    except hub.errors.CacheNotFound:
        return []
    names: list[str] = []
    for repo in cache.repos:
        if (repo.repo_type, repo.repo_id) != ("model", place.repo):
            continue
        for snapshot in repo.revisions:
            if (place.revision or "main") in (*snapshot.refs, snapshot.commit_hash):
                root = snapshot.snapshot_path
                names += [file.file_path.relative_to(root).as_posix() for file in snapshot.files]
    return sorted(names)


def _fetched(hub: ModuleType, place: Place) -> Path:
    """The file, downloaded into the hub's cache."""
    errors = hub.errors
    try:
        name = place.file
        if not name:
            names = hub.list_repo_files(place.repo, revision=place.revision)
            name = _usual(names, place)
            if not name:
                raise _no_such_file(place, names)
        return Path(hub.hf_hub_download(place.repo, name, revision=place.revision))
    except errors.HFValidationError:
        raise
    except errors.GatedRepoError:
        raise ArchitectureError(
            f"repository {place.repo} is open only to those whom its owners let in: ask on "
            f"https://huggingface.co/{place.repo}, then hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        tag = ""
        if place.name.startswith("timm:") and "." not in place.repo:
            tag = "; timm's names end in a tag, such as .ra_in1k"
        raise ArchitectureError(
            f"the hub has no repository {place.repo}, or shows it to its owners alone{tag}"
        ) from None
    except errors.RevisionNotFoundError:
        raise ArchitectureError(
            f"repository {place.repo} has no revision '{place.revision}': "
            "give a branch, a tag or a commit"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        raise _unreachable(hub, place, error.__cause__ or error) from None
    except errors.EntryNotFoundError:
        raise _no_such_file(
            place, hub.list_repo_files(place.repo, revision=place.revision)
        ) from None
    except (OSError, errors.OfflineModeIsEnabled) as error:
        raise _unreachable(hub, place, error) from None
    except Exception as error:
        # The hub's client for HTTP is another one in each of its versions.
        if not type(error).__module__.startswith(("httpx", "requests", "urllib3")):
            raise
        raise _unreachable(hub, place, error) from None


def _usual(names: Iterable[str], place: Place) -> str:
    """The file of weights among those of a repository, empty if there is none.

    Raises `UsageError` if there are several and none is called as usual.
    """
    weights = [name for name in names if name.endswith(OF_WEIGHTS)]
    for name in PREFERRED:
        if name in weights:
            return name
    if len(weights) > 1:
        such = ", ".join(place.named(name) for name in weights[:LISTED])
        raise UsageError(f"repository {place.repo} has {len(weights)} files of weights: {such}")
    return weights[0] if weights else ""


def _no_such_file(place: Place, names: Iterable[str]) -> ArchitectureError:
    names = list(names)
    weights = [name for name in names if name.endswith(OF_WEIGHTS)] or names
    more = ", ..." if len(weights) > LISTED else ""
    what = f"no file '{place.file}'" if place.file else "no file of weights"
    return ArchitectureError(
        f"repository {place.repo} has {what}; it has {', '.join(weights[:LISTED])}{more}"
    )


def _unreachable(hub: ModuleType, place: Place, error: BaseException) -> ArchitectureError:
    names = _cached_names(hub, place)
    has = f", which has {', '.join(names[:LISTED])} of it" if names else ""
    offline = isinstance(error, hub.errors.OfflineModeIsEnabled)
    why = "HF_HUB_OFFLINE is set" if offline else one_line(error, 120)
    file = place.file or PREFERRED[0]
    revision = f" --revision {place.revision}" if place.revision else ""
    return ArchitectureError(
        f"{place.name[:120]} is not in the cache {hub.constants.HF_HUB_CACHE}{has}, and the hub "
        f"cannot be reached: {why}. Where there is a network: hf download {place.repo} "
        f"{file}{revision}; then copy that cache, or give the file"
    )
