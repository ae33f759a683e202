"""GRPO of a checkpoint with trl, on the data of the recipe and with Scene-R1's rewards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from scene_r1.files import make_folder, whole_folder, write_text
from scene_r1_engines.errors import BadConfig, MissingExtra, OutputExists
from scene_r1_engines.settings_file import to_toml
from scene_r1_export.checkpoint import CONFIG, Checkpoint, read_checkpoint
from scene_r1_export.recipe.layout import layout_of
from scene_r1_export.recipe.processor import picture_processor
from scene_r1_export.recipe.rows_file import RecipeData, read_data
from scene_r1_export.recipe.train_settings import TrainSettings
from scene_r1_export.rewards import format_reward, task_reward
from scene_r1_export.weights import INDEX

EXTRA = "grpo"
RUN, MODEL, LOG, SETTINGS = "run", "model", "log.jsonl", "train.toml"
TEXT_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""The vision tower has layers of these names too; an adapter on it could not be told from the text model's."""


def train(settings: TrainSettings, resume: bool = False) -> Path:
    """Run GRPO and return the folder OUT/model: a checkpoint for `scene-r1-export vlm`, or an adapter for its `--lora`.

    OUT/run holds states from which `resume` goes on, OUT/log.jsonl the trainer's log, OUT/train.toml the settings.
    Raises MissingExtra without trl, BadModelFile and BadRecording for what cannot be read, BadConfig where settings,
    data and checkpoint do not fit each other, OutputExists for a run that is there and not resumed.
    """
    modules = _modules()
    accumulation = settings.accumulation(int(os.environ.get("WORLD_SIZE", "1")))
    checkpoint, data = read_checkpoint(settings.model), read_data(settings.data)
    check_layout(settings, data)
    out = make_folder(settings.out)
    _check_out(out, resume)
    trainer = _trainer(modules, settings, checkpoint, data, accumulation)
    if _is_first():
        write_text(out / SETTINGS, to_toml(settings))
    trainer.train(resume_from_checkpoint=True if resume else None)
    if _is_first():
        write_text(out / LOG, "".join(f"{json.dumps(entry)}\n" for entry in trainer.state.log_history))
        with whole_folder(out / MODEL) as folder:
            _save(trainer, folder, checkpoint, bool(settings.lora.rank))
    return out / MODEL


def check_layout(settings: TrainSettings, data: RecipeData) -> None:
    """Raises BadConfig unless the data was made for how this checkpoint is asked."""
    made = data.settings.layout
    own = layout_of(settings.model, made.image.grounding_pixels)
    if own != made:
        differing = [
            name for name in ("family", "system", "image", "time") if getattr(own, name) != getattr(made, name)
        ]
        raise BadConfig(
            f"{settings.data} was made for a checkpoint that is asked otherwise ({', '.join(differing)}): make "
            f"it again with --checkpoint {settings.model}"
        )


def _modules() -> Mapping[str, Any]:
    """trl and what it stands on."""
    try:
        trl, datasets = import_module("trl"), import_module("datasets")
        # trl imports its trainers on use, and says RuntimeError where one of their own imports is missing
        trainer, config = trl.GRPOTrainer, trl.GRPOConfig
        return {
            "trainer": trainer,
            "config": config,
            "datasets": datasets,
            "peft": import_module("peft"),
            "torch": import_module("torch"),
            "transformers": import_module("transformers"),
        }
    except (ImportError, RuntimeError) as error:
        raise MissingExtra(EXTRA, "training with GRPO", str(error).strip().splitlines()[-1][:200]) from error


def _trainer(
    modules: Mapping[str, Any], settings: TrainSettings, checkpoint: Checkpoint, data: RecipeData, accumulation: int
) -> Any:
    torch, transformers = modules["torch"], modules["transformers"]
    dtype = getattr(torch, settings.precision)
    model = transformers.AutoModelForImageTextToText.from_pretrained(
        os.fspath(checkpoint.folder), dtype=dtype, local_files_only=True
    )
    processor = picture_processor(transformers, checkpoint, data.settings.layout.image)
    lora = None
    if settings.lora.rank:
        lora = modules["peft"].LoraConfig(
            r=settings.lora.rank,
            lora_alpha=settings.lora.alpha,
            lora_dropout=settings.lora.dropout,
            target_modules=TEXT_LAYERS,
            task_type="CAUSAL_LM",
        )
    elif settings.freeze_vision:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = "visual." not in name
    return modules["trainer"](
        model=model,
        reward_funcs=[format_reward, task_reward],
        args=_arguments(modules, settings, accumulation),
        train_dataset=_dataset(modules["datasets"], data),
        processing_class=processor,
        peft_config=lora,
    )


def _arguments(modules: Mapping[str, Any], settings: TrainSettings, accumulation: int) -> Any:
    has_gpu = bool(modules["torch"].cuda.is_available())
    return modules["config"](
        output_dir=os.fspath(Path(settings.out) / RUN),
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=accumulation,
        num_generations=settings.group,
        num_iterations=settings.iterations,
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        lr_scheduler_type="cosine",
        beta=settings.beta,
        epsilon=settings.epsilon,
        temperature=settings.temperature,
        max_completion_length=settings.max_tokens,
        reward_weights=[settings.format_weight, settings.task_weight],
        loss_type="grpo",  # each answer's tokens are averaged first, as in GRPO's own paper; trl's default differs
        bf16=settings.precision == "bfloat16",
        gradient_checkpointing=settings.gradient_checkpointing,
        save_steps=settings.save_every,
        save_total_limit=2,
        logging_steps=1,
        logging_first_step=True,
        report_to="none",
        remove_unused_columns=False,
        use_cpu=not has_gpu,
        dataloader_pin_memory=has_gpu,
        seed=settings.seed,
    )


def _dataset(datasets: Any, data: RecipeData) -> Any:
    """Rows by their number; a row's pictures are opened when it is its turn."""

    def rows(batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        chosen = [data.rows[number] for number in batch["number"]]
        columns: dict[str, list[Any]] = {name: [row.get(name) for row in chosen] for name in data.rows[0]}
        return {**columns, "images": [data.pictures(row) for row in chosen]}

    return datasets.Dataset.from_dict({"number": list(range(len(data.rows)))}).with_transform(rows)


def _save(trainer: Any, folder: Path, checkpoint: Checkpoint, is_adapter: bool) -> None:
    """The weights, and beside them the checkpoint's own files: what the library writes for a tokenizer and a processor
    changes with its version, and neither was trained."""
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(os.fspath(folder))
    if is_adapter:
        return
    for name, path in checkpoint.files.items():
        if name not in checkpoint.weights.files and name != INDEX:
            shutil.copyfile(path, folder / name)
    for path in folder.iterdir():
        shutil.copymode(folder / CONFIG, path)  # safetensors makes files that only their owner can read


def _check_out(out: Path, resume: bool) -> None:
    if (out / MODEL).exists():
        raise OutputExists(f"{out / MODEL} is already there: name another place with `out`, or remove it")
    has_run = any((out / RUN).glob("checkpoint-*"))
    if has_run and not resume:
        raise OutputExists(f"{out / RUN} holds a run: go on with --resume, name another place with `out`, or remove it")
    if resume and not has_run:
        raise BadConfig(f"{out / RUN} holds no state to go on from: leave --resume out")


def _is_first() -> bool:
    """Whether this is the process that writes, of those that train together."""
    return os.environ.get("RANK", "0") == "0"
