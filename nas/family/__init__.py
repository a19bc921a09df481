"""One network made into several: by published presets, or by coefficients at steps of cost."""

from nas.family.member import Member, check_base, check_distinct
from nas.family.presets import PRESETS, deviations, preset
from nas.family.steps import Coefficients, candidates, family

__all__ = [
    "PRESETS",
    "Coefficients",
    "Member",
    "candidates",
    "check_base",
    "check_distinct",
    "deviations",
    "family",
    "preset",
]
