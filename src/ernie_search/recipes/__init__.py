"""The whole path declared: recipes in YAML, and the demo."""

from ernie_search.recipes.recipe import Recipe, load_recipe, shipped

__all__ = ["Recipe", "load_recipe", "shipped"]
