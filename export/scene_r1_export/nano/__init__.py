"""Scene-R1 nano: a small reasoning model of the real architecture, trained on synthetic rooms from nothing.

`python -m scene_r1_export.nano data|train|grpo|eval|export`, see docs/nano.md.
"""
