"""The documentation keeps its promises: headings, files and links are there, and commands can work."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from ernie_search.cli import app
from test_layering import ALLOWED

ROOT = Path(__file__).resolve().parent.parent
METHOD = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
REFERENCE = re.compile(r'method\.md, "([^"]+)"')
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "mkdocs.yml", *(ROOT / "docs").rglob("*.md")]
)
SOURCES = [
    path
    for folder in ("src", "tests", "benchmarks", "examples", "docs")
    for kind in ("*.py", "*.yaml", "*.md")
    for path in sorted((ROOT / folder).rglob(kind))
    if path != Path(__file__).resolve()
]


def joined(path: Path) -> str:
    """A file's text with every break of a line, and the marks of a comment behind it, as one space."""
    return re.sub(r"\s+(#\s+)?", " ", path.read_text(encoding="utf-8"))


def test_references_to_the_method_name_headings_that_are_there():
    headings = set(re.findall(r"^#+ (.+)$", METHOD, re.MULTILINE))
    named = {(path, name) for path in SOURCES for name in REFERENCE.findall(joined(path))}
    assert named  # else the pattern finds nothing any more
    assert sorted((str(path), name) for path, name in named if name not in headings) == []


def test_nothing_refers_to_a_page_that_is_not_in_the_repository():
    assert [str(path) for path in SOURCES if re.search(r"\bMETHOD[,'\"]", joined(path))] == []


def test_files_that_the_method_names_are_there():
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", METHOD))
    ours = {name for name in named if not name.startswith("paddlenlp/")}
    assert ours
    assert sorted(name for name in ours if not (ROOT / "src" / "ernie_search" / name).is_file()) == []


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_the_pages_for_contributors_name_are_there(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]+/[\w.]*|\w+\.(?:py|md))`", text))
    places = (ROOT, ROOT / "src" / "ernie_search")
    assert len(named) > 10
    patterns = {one for one in named if "NAME." in one}
    missing = [one for one in named - patterns if not any((place / one).exists() for place in places)]
    assert sorted(missing) == ["../shared/data"] * ("../shared/data" in missing)


def test_the_table_of_rooms_says_what_the_layering_test_allows():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| .* \| (?:<- (.*?))?(?: alone)? ?\|$", text, re.MULTILINE)
    assert {room: set(re.findall(r"[\w.]+", may)) for room, may in rows} == ALLOWED


def test_equations_of_the_paper_are_not_cited():
    """Its text was not read (docs/method.md), so no number of an equation in it can be known."""
    cited = re.compile(r"Lu et al\.?[^.]{0,80}\b(eqs?\.|equations?|sections?|tables?) ?\d", re.IGNORECASE)
    assert [str(path) for path in SOURCES if cited.search(joined(path))] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_installs_from_an_index_that_has_no_such_package(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    wrong = [line for line in lines if re.search(r"pip install (-\S+ )*['\"]?ernie-search", line)]
    allowed = ("needs the package ir_datasets", "Once it is published")  # a message, and what will change
    assert [line for line in wrong if not any(reason in line for reason in allowed)] == []


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_links_of_pages_outside_the_site_lead_to_files():
    broken = []
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8")):
            if "://" not in target and not (ROOT / target).exists():
                broken.append(f"{name}: {target}")
    assert broken == []


def shown_commands() -> set[tuple[str, str]]:
    """Page and command, of everything that pages show being typed."""
    places = [*PAGES, ROOT / "SECURITY.md", *sorted((ROOT / "examples").glob("*.py"))]
    found = set()
    for path in places:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"ernie-search ((?:[a-z][\w-]*) [^`#|\n]*)", text):
            found.add((str(path.relative_to(ROOT)), line.strip()))
    return found


def test_commands_and_options_that_pages_show_are_there():
    commands = get_command(app).commands
    wrong = []
    for page, line in sorted(shown_commands()):
        name, *rest = line.split()
        if name not in commands:
            wrong.append(f"{page}: {line}: no command {name}")
            continue
        group = getattr(commands[name], "commands", {})
        picked = [group[rest[0]]] if rest and rest[0] in group else [commands[name], *group.values()]
        options = {
            opt for one in picked for param in one.params for opt in (*param.opts, *param.secondary_opts)
        }
        asked = {word.split("=")[0] for word in re.findall(r"(?<=\s)--[a-z][\w-]*", line)} - {"--help"}
        wrong += [f"{page}: {line}: no option {option}" for option in sorted(asked - options)]
    assert wrong == []
