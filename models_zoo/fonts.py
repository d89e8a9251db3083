"""The fonts that text is rendered with: taken out of packages like the models, other families in each split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models_zoo.package import Package

_MATPLOTLIB = Package(
    "matplotlib",
    "3.11.2",
    {
        "DejaVuSans.ttf": "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22",
        "DejaVuSans-Bold.ttf": "b184b89e3c1075f22f6b71575b6fc20d4972b3cfd3b23322ca6fd596dcaef167",
        "DejaVuSansMono.ttf": "602ec86b8948cfcd956482fe64f94c36c867770149ef2f791d4613f443bcecb3",
        "DejaVuSerif.ttf": "107244956e9962b9e96faccdc551825e0ae0898ae13737133e1b921a2fd35ffa",
        "DejaVuSerif-Italic.ttf": "3e7994fbc54fa10ce3352a42d548fadd7d9cadb69cb1109bc9d960f6dac57f04",
        "STIXGeneral.ttf": "167378031e2dddc6216d67819c9260e9a06ffc4c478e4e23cb98a6fd44b183c2",
        "STIXGeneralBol.ttf": "e8533dc7083fa346bda1933d60ea4a83b67d0945bceaf1b3541f82b4a0e2c6a0",
    },
    folder="matplotlib/mpl-data/fonts/ttf",
)
_MANROPE = Package(
    "font-manrope",
    "0.0.2",
    {
        "Manrope-Regular.ttf": "1e390629ba046af367b66221ffc1b88dcb83e437b5950e4c85a702c9f7628348",
        "Manrope-Bold.ttf": "8452aa3443b61a9b007e2dc59b6ed16a40d453c77a4181645e581a0a899c9c5d",
    },
    folder="font_manrope/files",
)
_HANKEN = Package(
    "font-hanken-grotesk",
    "0.0.2",
    {
        "HankenGrotesk-Regular.otf": "7081af94a8df60b1dd203f702343db54d5abf4c5f0d2c3762649dd6fb6b28ced",
        "HankenGrotesk-MediumItalic.otf": "411d8316f3afb5daa94acad159684da523a54a078dcc5e124d4a2e9b349b8daa",
    },
    folder="font_hanken_grotesk/files",
)
_SOURCE_SANS = Package(
    "font-source-sans-pro",
    "0.0.1",
    {
        "SourceSansPro-Regular.ttf": "b77f3a700edd0fc0dec73258f882d5c3926c77f5caf6800a201d2166568d2309",
        "SourceSansPro-Bold.ttf": "2efc3a95d076f2d04c5928c0ad698b7c61cc302d6f6e79e9643cd3722f7becc2",
        "SourceSansPro-It.ttf": "36133e9f508b0b4c639e84b2a09855350be0b13700ad729ab519aa78e5c48d20",
    },
    folder="font_source_sans_pro/files",
)
_SOURCE_SERIF = Package(
    "font-source-serif-pro",
    "0.0.1",
    {
        "SourceSerifPro-Regular.ttf": "b4e0771f06d8f6573a535312762b0b2f4fb9a03372239e39b0e7cf203da8ea9a",
        "SourceSerifPro-Semibold.ttf": "83cc8531f284efb749bbb54f9fb4a0e0450cba918a41df76fabb3a42f2f95899",
        "SourceSerifPro-It.ttf": "13e315bc49bd04ef89228db5fbc793e407d76f9ffadda4e5e08894fb474736eb",
    },
    folder="font_source_serif_pro/files",
)

PACKAGES = {
    "calibration": (_MATPLOTLIB,),
    "selection": (_MANROPE, _HANKEN),
    "report": (_SOURCE_SANS, _SOURCE_SERIF),
}


@dataclass(frozen=True)
class Font:
    """A font file and the package it is from."""

    package: Package
    name: str

    def path(self) -> Path:
        """Its path in the cache, fetched where needed."""
        return self.package.file(self.name)


def fonts(split: str) -> tuple[Font, ...]:
    """The fonts of a split; no family is in two splits."""
    return tuple(Font(package, name) for package in PACKAGES[split] for name in package.files)
