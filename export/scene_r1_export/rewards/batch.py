"""The rewards of a batch, as trl's GRPOTrainer calls them: completions, and the columns of the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scene_r1_engines.errors import BadInput
from scene_r1_export.rewards.score import Rewards, reward
from scene_r1_export.rewards.truth import AnswerTruth, Truth, WhenTruth, WhereTruth

COLUMNS = {
    # task: the columns that hold its truth
    "when": ("windows_s", "start_s", "end_s"),
    "where": ("box", "width", "height"),
    "answer": ("answer", "answer_kind"),
}


def format_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """1 or 0 for each completion: its form. Arguments as `total_reward`."""
    return [one.format for one in _each(completions, columns)]


def task_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """In [0, 1] for each completion: how right it is. Arguments as `total_reward`."""
    return [one.task for one in _each(completions, columns)]


def total_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """In [0, 2] for each completion: form and task.

    completions: texts, or conversations whose messages of the assistant hold the text. columns: one value for each
    completion; `task` and those of COLUMNS are read, others are left alone. Raises BadInput for a truth that is none:
    that is the data's fault, and never a completion's.
    """
    return [one.total for one in _each(completions, columns)]


def truth_of(row: Mapping[str, Any]) -> Truth:
    """The truth that a row of the data set holds, see COLUMNS. Raises BadInput naming the column at fault."""
    task = row.get("task")
    if task not in COLUMNS:
        raise BadInput(f"task must be one of {', '.join(COLUMNS)}, got {str(task)[:40]!r}")
    missing = [name for name in COLUMNS[task] if row.get(name) is None and name != "box"]
    if missing or (task == "where" and "box" not in row):
        raise BadInput(f"a row of task {task} needs the column {(*missing, 'box')[0]}: make the data again")
    try:
        if task == "when":
            windows_s = tuple((float(start), float(end)) for start, end in row["windows_s"])
            return WhenTruth(windows_s, float(row["start_s"]), float(row["end_s"]))
        if task == "where":
            box = None
            if row["box"] is not None:
                x0, y0, x1, y1 = map(float, row["box"])
                box = (x0, y0, x1, y1)
            return WhereTruth(box, int(row["width"]), int(row["height"]))
        return AnswerTruth(str(row["answer"]), row["answer_kind"])
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        values = ", ".join(f"{name} {str(row[name])[:40]!r}" for name in COLUMNS[task])
        raise BadInput(f"a row of task {task} has values that cannot be read: {values}: make the data again") from None


def _each(completions: Sequence[Any], columns: Mapping[str, Any]) -> list[Rewards]:
    wanted = {"task": None, **dict.fromkeys(name for names in COLUMNS.values() for name in names)}
    given = {name: columns[name] for name in wanted if columns.get(name) is not None}
    for name, values in given.items():
        if len(values) != len(completions):
            raise BadInput(f"column {name} has {len(values)} values for {len(completions)} completions: one for each")
    out = []
    for number, completion in enumerate(completions):
        row = {name: values[number] for name, values in given.items()}
        try:
            truth = truth_of(row)
        except BadInput as error:
            raise BadInput(f"row {number} of the batch: {error}") from None
        out.append(reward(_text(completion), truth))
    return out


def _text(completion: Any) -> str:
    """What the model wrote: the text itself, or that of the assistant's messages of a conversation. What is neither
    reads as "", which is worth nothing."""
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, list):
        return ""
    said = [one.get("content") for one in completion if isinstance(one, Mapping) and one.get("role") == "assistant"]
    return "".join(_content(content) for content in said)


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))
