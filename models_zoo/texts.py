"""Text lines for rendering: made from templates, deterministic, with no word shared between the splits."""

from __future__ import annotations

import numpy as np

from models_zoo.entry import SPLITS

_WORDS = """
able about above account across action active actual added address advance affair afraid after again agree ahead alarm
allow almost alone along already always amount anchor angle animal annual answer anyone apart apple apply april area
argue around arrive article aside asked asleep attack author autumn avenue average avoid awake award aware badge
bakery balance bamboo banana barely basket battle beach beauty became before begin behind believe below bench beneath
best better between beyond bicycle birth bitter black blanket blind block blood bloom board borrow bottle bottom
bought branch brave bread break bridge brief bright bring broken brother brought brown brush budget build burden
bureau butter button cabin cable camera campus cancel candle canvas capital captain carbon career careful carpet carry
castle casual cattle caught cause center century certain chair chance change chapter charge chart cheap check cheese
chief choice church circle citizen claim class clean clear client climate climb clock close cloud coast coffee collect
college colony column combine comfort common company compare concert connect contain control cookie copper corner
correct cotton council country couple courage course cousin cover create credit crisis critic crowd crystal culture
current custom daily damage dance danger daughter decade decide deep defend degree delay deliver demand depend depth
desert design desire detail device differ dinner direct discuss display distant divide doctor dollar domain double
doubt dozen draft dragon dream dress drive during eager early earth easily east edge editor effect effort eight either
elder electric eleven empire empty enable energy engine enjoy enough entire entry equal error escape estate ethics
evening event exact example except expect expert explain extend fabric factor failure fairly family famous farmer
father fault favor feature federal female fence fever field fifteen figure final finger finish first fiscal flame
flavor flight float floor flower follow foreign forest forget formal former forty forward found fourth frame freedom
fresh friend front frozen future galaxy garage garden gather general gentle giant ginger glass global golden govern
grain grand grass gravity great ground group growth guard guess guest guide guitar habit hammer handle happen harbor
hardly harvest health heart heavy height helmet hidden hobby hollow honest honey horizon horse hotel house however
huge human humble hundred hungry hunter idea ignore image impact import improve income indeed index indoor inform
inside insist invest invite island issue jacket jewel join joint journey judge jungle junior justice kettle kidney
kitchen knife ladder lake language large later laugh launch lawyer layer leader league learn least leather lecture
legal legend lemon length lesson letter level library light limit liquid listen little lively local logic lonely
lovely lunch machine magic mainly major manage manner maple marble margin marine market master matter maximum meadow
measure medal medium member memory mental merit metal method middle might million mineral minute mirror mission
mixture mobile model modern moment money month moral morning mother motion motor mountain movie muscle museum music
mutual mystery narrow nation native nature nearby needle neither nephew network neutral never night ninety noble
nobody normal north notice novel number object obtain obvious ocean offer office often olive onion open opera option
orange orbit order organ origin other outcome outside oven owner oxygen oyster
"""
_TEMPLATES = {
    "calibration": (
        "{W} {w} {w} {w}",
        "{w} {w}, {w} {w}",
        "{W} {W}",
        "{U} {n}",
        "{W}: {n}.{dd}",
        "{w} ({w}) {n}",
        "{dd}/{dd}/20{dd}",
        "{U}-{n}{L}",
        "{W} {w} no. {n}",
        "{w} {w} {w}.",
        "{n} {w} & {n} {w}",
        "[{L}{d}] {W} {w}",
    ),
    "selection": ("{W} {w} {w}", "{U} {W} {n}", "{w}={n}.{d}", "{W}, {w} {w}!", "{d}x {w} ({n})", "#{n}{L} {w}"),
    "report": (
        "{W} {w} {w} {w}",
        "{w} {w} {w}; {w}",
        "{U} {w}",
        "{W} {W} {n}",
        "Total: ${n}.{dd}",
        "{n}-{n} {w} {W}",
        "{dd}:{dd} {w}, {W}",
        "{W}'s {w} {w}?",
        "{L}{n}{L} {w}",
        "20{dd}-{dd}-{dd} {U}",
        "{w} {w} {dd}%",
        '"{W} {w}"',
        "{W}/{W} {n}",
        "+{dd}-{n}-{n}",
    ),
}


def words(split: str) -> list[str]:
    """The words of a split: every third of the list."""
    return _WORDS.split()[SPLITS.index(split) :: len(SPLITS)]


def line(split: str, rng: np.random.Generator) -> str:
    """A text line of printable ASCII: words in lower, title or upper case, digits and punctuation."""
    vocabulary = words(split)
    templates = _TEMPLATES[split]

    def fill(token: str) -> str:
        match token:
            case "w" | "W" | "U":
                word = vocabulary[rng.integers(len(vocabulary))]
                return {"w": word, "W": word.capitalize(), "U": word.upper()}[token]
            case "n":
                return str(rng.integers(10, 10_000))
            case "d" | "dd":
                return "".join(str(rng.integers(10)) for _ in token)
            case "L":
                return "ABCDEFGHJKLMNPQRSTUVWXYZ"[rng.integers(24)]
        raise ValueError(f"no such token in a template: {token}")

    template = templates[rng.integers(len(templates))]
    parts = template.replace("}", "{").split("{")
    # Odd parts stood between braces.
    return "".join(fill(part) if index % 2 else part for index, part in enumerate(parts))
