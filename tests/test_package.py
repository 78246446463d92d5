"""What the package promises as a whole: its layers, its public names, how light it is, and what is in the wheel."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import labelloop

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "labelloop"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# docs/architecture.md, "Layers". A module belongs where its longest prefix stands.
LAYERS = [
    {"errors"},
    {"types"},
    {"cores", "richness", "strategies", "metrics", "curves", "formats", "images", "quality", "train", "features"},
    {
        "project",
        "backbone",
        "weights",
        "embedded",
        "embedding",
        "folding",
        "stages",
        "train.finetune",
        "train.training",
    },
    {"board", "learning", "late", "reasons", "loop", "exchange", "folders"},
    {
        "judging",
        "resuming",
        "background",
        "worker",
        "dealing",
        "chooser",
        "standing",
        "live",
        "simulate",
        "predicting",
        "takehome",
    },
    {"cli", "server", "ui", "demo", "__main__"},
]


# -- layers --------------------------------------------------------------------------------------------------------


def layer_of(module: str) -> int:
    """The layer of 'labelloop.train.head' and the like; the package itself is above all others."""
    if module == "labelloop":
        return len(LAYERS)
    below = module.removeprefix("labelloop.")
    fits = {name: n for n, names in enumerate(LAYERS) for name in names if f"{below}.".startswith(f"{name}.")}
    assert fits, f"{module} stands in no layer: add it to LAYERS and to docs/architecture.md"
    return fits[max(fits, key=len)]


def imported_by(path: Path) -> Iterator[str]:
    """Modules of labelloop that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "labelloop")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "labelloop":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "labelloop"])
def test_a_module_imports_only_from_its_own_layer_and_those_below(module):
    upwards = {name for name in imported_by(MODULES[module]) if layer_of(name) > layer_of(module)}
    assert upwards == set()


def test_layers_are_found_by_the_longest_name():
    assert [layer_of(f"labelloop.{name}") for name in ("errors", "train.head", "train.finetune", "ui.label")] == [
        *(0, 2, 3, 6)
    ]


SQL = re.compile(
    r"\b(SELECT\s.*\sFROM|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE)\b", re.S
)


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("labelloop.project")])
def test_sql_is_in_project_only(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if SQL.search(text)] == []
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imports & {"sqlite3", "sqlite_utils"} == set()


# -- public names --------------------------------------------------------------------------------------------------


def test_all_is_sorted_and_complete():
    public = {
        name for name, value in vars(labelloop).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert labelloop.__all__ == sorted(public)


@pytest.mark.parametrize("name", labelloop.__all__)
def test_public_names_say_what_they_are(name):
    assert inspect.getdoc(getattr(labelloop, name))


def test_importing_labelloop_is_light():
    code = "import sys, labelloop, labelloop.cli; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"labelloop", "numpy"} <= set(loaded.stdout.split())
    heavy = {"torch", "torchvision", "timm", "streamlit", "sklearn", "scipy", "uvicorn"}
    assert heavy & set(loaded.stdout.split()) == set()


def test_the_version_is_the_newest_of_the_changelog():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    entries = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert entries[:1] == [version]


# -- the wheel -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, because setuptools leaves its notes beside what it builds."""
    pytest.importorskip("setuptools", "77", reason="building the wheel needs setuptools: pip install -e '.[test]'")
    tree = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("labelloop", "sample_data"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from setuptools import build_meta; build_meta.build_wheel('.')"
    built = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return next(tree.glob("*.whl"))


def test_the_wheel_holds_all_that_is_needed_and_no_more(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    in_package = {path.relative_to(ROOT).as_posix() for path in MODULES.values()}
    in_package |= {path.relative_to(ROOT).as_posix() for path in (PACKAGE / "ui" / "static").iterdir()}
    in_package |= {f"labelloop/{name}" for name in ("py.typed", "embedded.safetensors", "ui/.streamlit/config.toml")}
    sample = {f"labelloop/sample_data/images/{path.name}" for path in (ROOT / "sample_data" / "images").iterdir()}
    wanted = in_package | sample | {"labelloop/sample_data/truth.csv"}
    assert wanted - names == set()
    others = {name for name in names - wanted if ".dist-info/" not in name}
    assert {Path(name).parent.as_posix() for name in others} <= {"labelloop/sample_data"}  # the scripts that drew them


def test_the_demo_finds_its_images_in_the_wheel_and_in_a_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import labelloop.demo as d; print(d.sample_data()); print(*d.sample_classes(), sep=',')"
    found = {}
    for home in (tmp_path, ROOT):
        run = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True)
        place, classes = run.stdout.splitlines()
        found[Path(place)] = classes
    assert list(found) == [tmp_path / "labelloop" / "sample_data", ROOT / "sample_data"]
    assert len(set(found.values())) == 1
