"""Scene-R1's rewards: what an answer in words is worth, from its text and the truth alone.

Form is worth 1: the whole text is `<think>…</think><answer>…</answer>` and its answer reads for the task. The answer is
worth up to 1: the overlap in time (when), the overlap in the picture (where), or being right (a free question). Texts
are read by the parser of the runtime. Source: arXiv 2506.17545; its notation is not public, so the sum is the standard
one of such pipelines.

`reward(text, truth)` is for a loop of one's own; `format_reward`, `task_reward` and `total_reward` take batches, as
trl's GRPOTrainer calls them.
"""

from scene_r1.rooms.questions.scores import box_iou, mean_relative_accuracy, temporal_iou
from scene_r1_export.rewards.batch import format_reward, task_reward, total_reward, truth_of
from scene_r1_export.rewards.form import in_form
from scene_r1_export.rewards.score import Rewards, reward, reward_answer, reward_when, reward_where
from scene_r1_export.rewards.truth import AnswerTruth, Truth, WhenTruth, WhereTruth
from scene_r1_export.rewards.words import AnswerKind, answer_match, number_in, plain_words

__all__ = [
    "AnswerKind",
    "AnswerTruth",
    "Rewards",
    "Truth",
    "WhenTruth",
    "WhereTruth",
    "answer_match",
    "box_iou",
    "format_reward",
    "in_form",
    "mean_relative_accuracy",
    "number_in",
    "plain_words",
    "reward",
    "reward_answer",
    "reward_when",
    "reward_where",
    "task_reward",
    "temporal_iou",
    "total_reward",
    "truth_of",
]
