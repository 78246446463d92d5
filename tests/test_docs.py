"""README and docs are true: their Python runs, their commands run, their links lead somewhere; every command is
documented.
"""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from labelloop import embed
from labelloop.cli import main
from labelloop.project import Project
from tests.conftest import draw

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVERS = ("app", "demo")  # these wait for a browser: only their words are checked


def blocks(language, page=README):
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.M | re.S)


def commands():
    """Every labelloop command line in the README."""
    lines = [part for block in blocks("console") for line in block.splitlines() for part in line.split("&&")]
    return [shlex.split(line)[1:] for line in map(str.strip, lines) if line.startswith("labelloop ")]


@pytest.fixture
def at_photos(tmp_path, monkeypatch):
    """A current directory with a folder `photos` of 130 leaves, as the README has it."""
    for k in range(130):
        color = [(180, 60, 20), (120, 120, 120), (30, 160, 40)][k % 3]
        draw(tmp_path / "photos" / f"leaf_{k:02d}.png", tuple(min(255, c + k % 40) for c in color), (20 + k // 40, 20))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_color(pick):
    """The README's ask(): what a person would say."""
    with Project("leaves") as project:
        return ("rust", "mildew", "healthy")[int(project.catalog.image(pick.image_id).path.stem[5:]) % 3]


def test_the_python_of_the_readme_runs(at_photos):
    loop, own_strategy = blocks("python")
    exec(compile(loop, "README.md", "exec"), {"ask": by_color})
    lines = (at_photos / "labels.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("file_name,label,split,source")
    assert len(lines) == 101
    assert len(loop.splitlines()) <= 11
    (at_photos / "leaves" / "strategies").mkdir()
    (at_photos / "leaves" / "strategies" / "mine.py").write_text(own_strategy)
    done = CliRunner().invoke(main, ["next", "leaves", "--strategy", "scarce_first"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 20
    assert not done.stderr


def test_the_commands_of_the_readme_run_in_their_order(at_photos):
    for arguments in commands():
        if arguments[0] in SERVERS:
            continue
        if arguments[0] == "train":  # by now somebody has labeled some
            with Project("leaves") as project:
                for k, label in enumerate(("rust", "mildew", "healthy") * 4):
                    project.label(f"leaf_{k:02d}.png", label)
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert done.exit_code == 0, f"labelloop {' '.join(arguments)}\n{done.output}"


def test_your_own_strategy_in_ten_minutes(at_photos):
    """The page from top to bottom: a block of Python is saved where its first line says, a block of commands is run."""
    page = (ROOT / "docs" / "your_own_strategy.md").read_text(encoding="utf-8")
    with Project.create("leaves", "photos", classes=("rust", "mildew", "healthy")) as project:
        list(embed(project))
        for image in list(project.catalog.images().values())[:100]:
            project.label(image.id, ("rust", "mildew", "healthy")[int(image.path.stem[5:]) % 3])
    (at_photos / "leaves" / "strategies").mkdir()
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", page, flags=re.M | re.S):
        if language == "python":
            place = block.splitlines()[0].removeprefix("# ")
            (at_photos / place).write_text(block, encoding="utf-8")
            continue
        for line in block.splitlines():
            _, *arguments = shlex.split(line)
            chosen_by = [*arguments, "--json"] if "--strategy" in arguments else arguments
            done = CliRunner().invoke(main, chosen_by, catch_exceptions=False)
            assert done.exit_code == 0, f"{line}\n{done.output}"
            assert "warning" not in done.output, f"{line}\n{done.output}"
            assert "--strategy" not in arguments or f'"strategy": "{arguments[-1]}"' in done.output


def test_every_command_has_help_with_an_example_and_those_of_the_readme_exist():
    for name, command in main.commands.items():
        assert command.help, f"{name} has no help"
        assert f"labelloop {name}" in command.help, f"{name} has no example in its help"
    for arguments in commands():
        command = main.commands[arguments[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("-")} <= known


def anchors(page):
    """What a link may say after `#`: headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_of_the_documentation_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "strategies" / "README.md"]:
        for link in re.findall(r"\]\(([^)\s]+)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                path, _, anchor = link.partition("#")
                to = page.parent / path if path else page
                assert to.exists(), f"{page.name} links to {link}"
                assert not anchor or anchor in anchors(to), f"{page.name} links to {link}"


def test_the_tree_in_the_architecture_page_is_the_tree():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in (ROOT / "labelloop").iterdir():
        if path.suffix == ".py" and not path.name.startswith("__"):
            assert f"`{path.name}`" in text, f"docs/architecture.md does not say what {path.name} is"
        elif path.is_dir() and (path / "__init__.py").exists():
            assert f"`{path.name}/" in text, f"docs/architecture.md does not say what {path.name}/ is"


def test_the_first_commands_are_the_two_that_do_all_the_set_up():
    first = blocks("console")[0].splitlines()
    assert first == ["pip install -e . && labelloop demo", "pip install -e '.[test]' && pytest"]
    install, test = (part.strip() for part in first[1].split("&&"))
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" --quiet --disable-pip-version-check", "")
    assert re.search(rf"^{re.escape(install)}$", ci, flags=re.M)
    assert re.search(rf"^(\w+=\w+ )*{test}$", ci, flags=re.M)


@pytest.mark.parametrize("setting", ["gatherUsageStats = false", "fileWatcherType"])
def test_the_app_started_by_streamlit_itself_is_as_quiet(setting):
    assert setting in (ROOT / ".streamlit" / "config.toml").read_text()
