"""`scene-r1 ask`: a question about a recording becomes a metric 3D box, or words, and the reasons for it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scene_r1.cli import viewing
from scene_r1.cli.asking import add_options, effective, model_of, save, say, watch
from scene_r1.files import check_output_folder
from scene_r1.grounder import open_grounder
from scene_r1.sources import open_source
from scene_r1_engines.answer_format.question import check_question


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a folder or file that `scene-r1 inspect` can read")
    parser.add_argument("question", metavar="QUESTION", help="such as: where is the mug next to the laptop?")
    add_options(parser)
    viewing.add_options(parser)


def run(args: argparse.Namespace) -> int:
    config = effective(args)
    question = check_question(args.question)  # before the model is loaded and the recording read
    if args.out is not None:
        check_output_folder(args.out)
    viewing.check(args)
    with open_source(args.recording) as source, open_grounder(config, model_of(args, config)) as grounder:
        start_ns = watch(source, grounder)
        answer = grounder.ask(question, task=args.task)
        say(answer)
        if args.json:
            print(json.dumps(answer.to_json()), flush=True)
        if args.out is not None:  # last: a disk that is full must not cost the answer
            save(Path(args.out), answer, grounder)
        if args.glb is not None or args.rrd is not None:
            viewing.write(args, viewing.remembered(answer, grounder.memory, start_ns, question))
    return answer.status.exit_code
