"""The modules by floor, with their lines and what each imports: a map of the package, from its imports.

    python tools/map.py            print it
    python tools/map.py --write    write it into CONTRIBUTING.md, between its two markers
"""
import re, sys

import house
from house import ROOT

PLACE = re.compile(r"(<!-- map -->\n).*?(<!-- end of map -->)", re.S)


def lines(module: str) -> int: return len((ROOT/"covid_nbdev"/f"{module}.py").read_text(encoding="utf-8").splitlines())


def drawn() -> str:
    "A line for each module; lower floors first, since arrows lead to them."
    numbers = {r.module: r.number for r in house.rooms()}
    arrows, out = house.graph(ROOT/"covid_nbdev", numbers), []
    for part, lessons, workshops in house.contents():
        modules = [r for r in sorted(lessons + workshops, key=lambda r: r.number) if r.module in arrows]
        if modules: out.append(part)
        for r in modules:
            out.append(f"  {r.number:<4}{r.module:<12}{lines(r.module):>4}  → {' '.join(arrows[r.module])}".rstrip(" →"))
    return "\n".join(out) + f"\n{'all':<18}{sum(map(lines, arrows)):>4}\n"


def without_lines(text: str) -> list[str]:
    "What must be up to date in a copy: names and arrows. Numbers of lines change with every commit."
    return [re.sub(r"\s+\d+(?=\s+→|$)", "", line) for line in text.strip().splitlines()]


def copy() -> str:
    "The map as CONTRIBUTING.md shows it."
    return re.search(r"<!-- map -->\n```\n(.*?)```\n<!-- end of map -->", (ROOT/"CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)[1]


def main():
    if "--write" not in sys.argv: return print(drawn(), end="")
    path = ROOT/"CONTRIBUTING.md"
    path.write_text(PLACE.sub(lambda m: f"{m[1]}```\n{drawn()}```\n{m[2]}", path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__": main()
