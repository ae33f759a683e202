"""GRPO for a full-size vision-language model on RGB-D recordings: the data, as the runtime shows it, and the training.

    python -m scene_r1_export.recipe data --rooms DIR | --recordings DIR --questions FILE --out DIR
    python -m scene_r1_export.recipe train CONFIG.toml

See docs/grpo.md.
"""
