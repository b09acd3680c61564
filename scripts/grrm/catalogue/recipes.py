"""Published recipes of this field (docs/recipes.md): the files below config/recipes that make each, in order.

Pure data. What a recipe is stands in its files; by itself each is laid over config/paper.yaml, and with
config/recipes/toy.yaml over it, it runs on two CPU cores.
"""

from __future__ import annotations

RECIPES: dict[str, tuple[str, ...]] = {
    "grrm": ("grrm",),
    "mt_r1_zero_lex": ("mt_r1_zero", "mt_r1_zero_lex"),
    "mt_r1_zero_sem": ("mt_r1_zero",),
    "mt_r1_zero_mix": ("mt_r1_zero", "mt_r1_zero_mix"),
    "peg_rl_baseline": ("peg_rl_baseline",),
    "llm_judge_pairwise": ("llm_judge",),
    "llm_judge_pointwise": ("llm_judge", "llm_judge_pointwise"),
    "llm_judge_listwise": ("llm_judge", "llm_judge_listwise"),
    "ssr_zero": ("ssr_zero",),
    "comet_alone": ("metric_alone",),
    "cometkiwi_alone": ("metric_alone", "cometkiwi_alone"),
    "bleurt_alone": ("metric_alone", "bleurt_alone"),
    "bleu_alone": ("metric_alone", "bleu_alone"),
}
"""Recipe -> its files, without folder and .yaml, in the order in which they are laid over one another."""
