"""The whole path declared: recipes in YAML, their stages, the plan, the ablation, and the demo."""

from ernie_search.recipes.ablate import Ablation, ablate
from ernie_search.recipes.demo import DemoResult, run_demo
from ernie_search.recipes.estimate import estimate
from ernie_search.recipes.plan import Plan, make_plan, plan_table
from ernie_search.recipes.recipe import Recipe, load_recipe
from ernie_search.recipes.run import run_recipe, train_recipe
from ernie_search.recipes.stage import Stage
from ernie_search.recipes.yaml_file import is_recipe, shipped

__all__ = [
    "Ablation",
    "DemoResult",
    "Plan",
    "Recipe",
    "Stage",
    "ablate",
    "estimate",
    "is_recipe",
    "load_recipe",
    "make_plan",
    "plan_table",
    "run_demo",
    "run_recipe",
    "shipped",
    "train_recipe",
]
