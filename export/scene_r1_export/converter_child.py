"""A program of its own: runs llama.cpp's converter with what it cannot be told on its command line.

    converter_child.py SETTINGS_JSON CONVERTER_ARGUMENT...

SETTINGS_JSON: {"converter": folder, "pre_tokenizer": name or null, "metadata": {key: text}, "report": path}. A declared
pre-tokenizer is used only where the converter does not know the tokenizer. `metadata` goes into the GGUF file. `report`
is written with the pre-tokenizer that was used. Run by its path: the converter's own modules must come first.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # In place of this file's own folder, whose modules must not be taken for the converter's.
    sys.path[0] = settings["converter"]
    sys.argv[:] = ["convert_hf_to_gguf.py", *sys.argv[2:]]
    program = import_module("convert_hf_to_gguf")
    text_model: Any = import_module("conversion.base").TextModel
    writer: Any = import_module("gguf").GGUFWriter
    known, write_header = text_model.get_vocab_base_pre, writer.write_header_to_file
    report = {"pre_tokenizer": ""}

    def pre_tokenizer(self: Any, tokenizer: Any) -> str:
        try:
            name = known(self, tokenizer)
        except NotImplementedError:
            if settings["pre_tokenizer"] is None:
                raise
            name = settings["pre_tokenizer"]
        report["pre_tokenizer"] = name
        return str(name)

    def header_with_metadata(self: Any, *args: Any, **kwargs: Any) -> None:
        for key, value in settings["metadata"].items():
            self.add_string(key, value)
        write_header(self, *args, **kwargs)

    text_model.get_vocab_base_pre = pre_tokenizer
    writer.write_header_to_file = header_with_metadata
    program.main()
    Path(settings["report"]).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
