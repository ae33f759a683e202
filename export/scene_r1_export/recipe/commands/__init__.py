"""The commands of `python -m scene_r1_export.recipe`; a module each."""
