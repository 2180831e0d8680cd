"""A pipeline declared in YAML: recipes, their stages, the plan, the runner, and the demo."""

from ernie_search.pipeline.demo import DemoResult, run_demo
from ernie_search.pipeline.plan import Plan, estimate, make_plan, plan_table
from ernie_search.pipeline.recipe import Recipe, is_recipe, load_recipe, shipped
from ernie_search.pipeline.runner import run_recipe, train_recipe
from ernie_search.pipeline.stage import Stage

__all__ = [
    "DemoResult",
    "Plan",
    "Recipe",
    "Stage",
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
