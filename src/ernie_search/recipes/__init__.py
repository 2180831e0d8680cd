"""The whole path declared: recipes in YAML, and the demo."""

from ernie_search.recipes.demo import DemoResult, run_demo
from ernie_search.recipes.recipe import Recipe, load_recipe, shipped

__all__ = ["DemoResult", "Recipe", "load_recipe", "run_demo", "shipped"]
