"""Fields are options: of the registry, the recipes and the command line alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from onnxslim.errors import InputError, SetupError
from onnxslim.pipeline import (
    Pass,
    dump_recipe,
    get_pass,
    load_recipe,
    make_pass,
    options_of,
    parse_recipe,
    pass_table,
    registry,
    values_of,
)


@dataclass(frozen=True)
class Example(Pass):
    """One field of each kind."""

    name: ClassVar[str] = "example"
    ratio: float = field(default=0.3, metadata={"help": "share removed"})
    count: int = 4
    deep: bool = False
    mode: Literal["fast", "good"] = "fast"
    names: tuple[str, ...] = ()
    limit: int | None = field(default=None, metadata={"help": "bytes", "least": 0})
    grade: str = field(default="a", metadata={"choices": ("a", "b")})


def test_options_are_read_from_the_fields() -> None:
    options = {option.name: option for option in options_of(Example)}
    assert options["ratio"].help == "share removed"
    assert options["mode"].choices == ("fast", "good")
    assert options["names"].many
    assert options["limit"].optional
    assert options["grade"].choices == ("a", "b")


def test_values_are_checked_and_converted() -> None:
    made = make_pass(Example, {"ratio": 1, "names": ["x", "y"], "limit": 3, "mode": "good"})
    assert made == Example(ratio=1.0, names=("x", "y"), limit=3, mode="good")
    assert values_of(made)["names"] == ("x", "y")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ration": 0.5}, "no option 'ration'.*did you mean 'ratio'"),
        ({"ratio": "half"}, "'half' is not a float.*share removed"),
        ({"ratio": True}, "True is not a float"),
        ({"ratio": float("nan")}, "nan is not a finite number"),
        ({"count": 1.5}, "1.5 is not a int"),
        ({"limit": -1}, r"-1 is too small.*option 'limit'.*fix: give a whole number from 0 up \(bytes\)"),
        ({"mode": "god"}, "invalid choice.*did you mean 'good'"),
        ({"grade": "c"}, "invalid choice"),
        ({"names": [1]}, "1 is not a str"),
        ({"count": None}, "None is not a int"),
    ],
)
def test_wrong_values_are_refused_with_the_fix(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_pass(Example, values)


def test_every_registered_pass_imports_and_has_help() -> None:
    for name in pass_table():
        cls = get_pass(name)
        assert cls.name == name
        assert cls.summary().endswith(".")
        for option in options_of(cls):
            assert option.help, f"{name}.{option.name} has no help"
        cls()  # runs without options


def test_a_near_pass_is_named() -> None:
    with pytest.raises(InputError, match="did you mean 'quantize'"):
        get_pass("qantize")


def test_a_name_clash_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    clash = [EntryPoint("slim", "elsewhere:Slim", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: clash)
    with pytest.raises(SetupError, match=r"onnxslim\.passes\.slim\.slim:Slim.*elsewhere:Slim"):
        pass_table()


def test_a_third_party_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    found = [EntryPoint("example", f"{__name__}:Example", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    assert get_pass("example") is Example
    broken = [EntryPoint("example", "no_such_module:Example", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: broken)
    with pytest.raises(SetupError, match="no_such_module"):
        get_pass("example")
    misnamed = [EntryPoint("other", f"{__name__}:Example", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: misnamed)
    with pytest.raises(SetupError, match="calls itself 'example'"):
        get_pass("other")


def test_a_recipe_comes_back_as_it_was_written(tmp_path: Path) -> None:
    passes = [get_pass("slim")(), make_pass(get_pass("quantize"), {"exclude": ['re:"x"', "ü"], "percentile": 99.9})]
    path = tmp_path / "recipe.toml"
    path.write_text(dump_recipe(passes), encoding="utf-8")
    assert load_recipe(path) == passes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[pass]\n", "not valid TOML"),
        ("", "has no pass"),
        ('[pass]\nname = "slim"', "not a list of tables.*two brackets"),
        ("[[pass]]\n", "no name"),
        ('[[pass]]\nname = "slimm"', "did you mean 'slim'"),
        ('[[pass]]\nname = "quantize"\npercentil = 3', "pass 1.*did you mean 'percentile'"),
        ('[[passes]]\nname = "slim"', "unknown top-level key 'passes'"),
    ],
)
def test_bad_recipes_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_recipe(text, where="r.toml")


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        load_recipe(tmp_path / "nowhere.toml")
