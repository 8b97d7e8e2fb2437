"""Where data is looked for: the folder that is named, then the user's cache."""

import os
from pathlib import Path

import pytest

from flp_base.errors import SourceError
from flp_datasets.roots import cache_root, named_root, roots


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing named; the home folder is an empty one."""
    for name in ("FLP_DATA_ROOT", "FLP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def refused(data_root: object = None) -> str:
    with pytest.raises(SourceError) as caught:
        roots(data_root)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_the_cache_is_below_the_home_folder_unless_something_says_otherwise(tmp_path, monkeypatch):
    assert cache_root() == tmp_path / "home" / ".cache" / "flp-envs" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "flp-envs" / "data"
    monkeypatch.setenv("FLP_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own" / "data"


def test_empty_variables_are_as_good_as_none(tmp_path, monkeypatch):
    for name in ("FLP_DATA_ROOT", "FLP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    assert roots(None) == [tmp_path / "home" / ".cache" / "flp-envs" / "data"]


def test_the_argument_comes_before_the_variable_and_the_cache_is_last(tmp_path, monkeypatch):
    (tmp_path / "argument").mkdir()
    (tmp_path / "variable").mkdir()
    assert named_root(None) is None
    assert roots(None) == [cache_root()]
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path / "variable"))
    assert roots(None) == [tmp_path / "variable", cache_root()]
    assert roots(tmp_path / "argument") == [tmp_path / "argument", cache_root()]
    assert roots(str(tmp_path / "argument")) == [tmp_path / "argument", cache_root()]


def test_the_cache_named_as_root_is_looked_in_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FLP_CACHE", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert roots(tmp_path / "data") == [tmp_path / "data"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "home" / "mine").mkdir(parents=True)
    assert named_root("~/mine") == tmp_path / "home" / "mine"
    monkeypatch.setenv("FLP_DATA_ROOT", "~/mine")
    assert named_root(None) == tmp_path / "home" / "mine"


@pytest.mark.parametrize(("variable", "folder"), [("FLP_CACHE", "own"), ("XDG_CACHE_HOME", "own/flp-envs")])
def test_a_tilde_in_a_variable_of_the_cache_is_the_home_folder(tmp_path, monkeypatch, variable, folder):
    monkeypatch.setenv(variable, "~/own")
    assert cache_root() == tmp_path / "home" / folder / "data"


@pytest.mark.parametrize("name", ["none", "file", "file/within"])
def test_what_is_no_folder_is_refused_and_who_named_it_is_said(tmp_path, monkeypatch, name):
    (tmp_path / "file").touch()
    path = tmp_path / name
    expected = "{} is {}, which is not a folder: name the folder that holds the data"
    assert refused(path) == expected.format("data_root", path)
    monkeypatch.setenv("FLP_DATA_ROOT", str(path))
    assert refused() == expected.format("FLP_DATA_ROOT", path)


def test_the_home_folder_of_nobody_is_no_folder():
    message = refused("~nobody-of-this-name/data")
    assert message.startswith("data_root is ~nobody-of-this-name/data, which is not a folder")


def test_a_wrong_variable_does_not_matter_where_the_argument_is_right(tmp_path, monkeypatch):
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path / "none"))
    assert named_root(tmp_path) == tmp_path


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    """Simulated, as tests may run as root."""
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)) or False)
    message = refused(tmp_path)
    assert message == f"data_root is {tmp_path}, which cannot be read: change its permissions, or name another folder"
    assert asked == [(tmp_path, os.R_OK | os.X_OK)]


def test_a_folder_below_one_that_cannot_be_entered_is_refused(tmp_path, monkeypatch):
    """Simulated: asking what is there is refused then."""
    stat = os.stat

    def refuse(path, *arguments, **options):
        if "locked" in os.fspath(path):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert "is not a folder: name the folder that holds the data" in refused(tmp_path / "locked" / "data")
