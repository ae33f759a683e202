"""A program of its own: renders a checkpoint's chat template, with bounds on time and memory that a process can have.

Reads {"template": …, "conversations": […]} from stdin and writes the list of what was rendered to stdout. A template is
a program of the checkpoint's author; jinja2's sandbox keeps it from the machine, but not from running for ever. This
file is run by its path, so that it imports nothing of ours.
"""

from __future__ import annotations

import json
import resource
import sys

SECONDS = 3
BYTES = 1 << 30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    # With these options transformers renders; a template's text depends on them.
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    task = json.load(sys.stdin)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    environment.globals["raise_exception"] = raise_exception
    template = environment.from_string(task["template"])
    rendered = [
        template.render(messages=messages, add_generation_prompt=True, tools=None, bos_token="", eos_token="<|im_end|>")
        for messages in task["conversations"]
    ]
    json.dump(rendered, sys.stdout)


if __name__ == "__main__":
    main()
