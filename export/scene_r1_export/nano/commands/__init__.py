"""What `python -m scene_r1_export.nano` can be asked to do."""
