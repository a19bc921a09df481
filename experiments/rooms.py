"""The structure of the package: each room's size, what it imports, and how far up it stands.

    python experiments/rooms.py            # this checkout
    python experiments/rooms.py ../other   # another one, to compare

A room is a folder of the package, or a module that lies loose in it. A room's floor is the longest
chain of imports below it. Rooms that import each other in a circle have no floor, and are named.
"""

import argparse
import ast
from pathlib import Path

PACKAGES = ("nas", "search_spaces", "latency_tables")


def room_of(module: str, root: Path) -> str:
    """The room that holds a module; empty if the module is not one of ours."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return ""
    if parts[0] != "nas" or len(parts) == 1:
        return parts[0]
    return f"nas/{parts[1]}/" if (root / "nas" / parts[1]).is_dir() else f"nas/{parts[1]}"


def imported(path: Path) -> set[str]:
    """The modules that a file imports, at its top or inside functions."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "nas":
            modules.update(f"nas.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            modules.add(node.module)
    return modules


def read_rooms(root: Path) -> tuple[dict[str, int], dict[str, set[str]]]:
    """Lines of each room, and the rooms that it imports."""
    lines: dict[str, int] = {}
    arrows: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            room = room_of(module.removesuffix(".__init__"), root)
            lines[room] = lines.get(room, 0) + path.read_text(encoding="utf-8").count("\n")
            targets = {room_of(name, root) for name in imported(path)}
            arrows.setdefault(room, set()).update(targets - {room, "", "nas"})
    return lines, arrows


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room that stands in no circle."""
    known: dict[str, int] = {}
    rising = True
    while rising:
        rising = False
        for room, below in arrows.items():
            if room not in known and all(other in known for other in below):
                known[room] = 1 + max((known[other] for other in below), default=0)
                rising = True
    return known


def main() -> None:
    """Draw the house from its top floor down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parent.parent)
    root = parser.parse_args().root
    lines, arrows = read_rooms(root)
    floor_of = floors(arrows)
    for floor in range(max(floor_of.values()), 0, -1):
        here = sorted(room for room in floor_of if floor_of[room] == floor)
        print(f"{floor:3d}  " + "   ".join(f"{room} {lines[room]}" for room in here))
    loose = [room for room in lines if room.startswith("nas/") and not room.endswith("/")]
    count = sum(len(targets) for targets in arrows.values())
    print(f"{len(lines)} rooms, {len(loose)} modules loose in nas/, {count} arrows")
    circle = sorted(set(arrows) - set(floor_of))
    print(f"in circles, or above one: {', '.join(circle) or 'none'}")


if __name__ == "__main__":
    main()
