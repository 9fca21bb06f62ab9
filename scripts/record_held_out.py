"""Put held-out answers that `distil_draft.py generate` wrote into the package, for `draftwire bench codec`.

    python scripts/record_held_out.py WORK

WORK is that command's folder: its target answered prompts that the draft was not trained on. Answers at the
temperature are kept as tokens, prompt and answer, in nodes/console/bench/data.
"""

import argparse
from pathlib import Path

from distil_answers import read_shard

from draftwire.nodes.console.bench.codec_text import SHIPPED_TEXT, Passage, Text, save_text
from draftwire.nodes.console.bench.traces import data_path
from draftwire.nodes.models.catalogue import SHIPPED, load_tokenizer


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="the folder of distil_draft.py")
    parser.add_argument("--temperature", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="default: in the package's data folder")
    args = parser.parse_args()

    shards = sorted((args.work / "answers").glob("held-out-*.safetensors"))
    answers = [one for shard in shards for one in read_shard(shard) if one.temperature == args.temperature]
    if not answers:
        raise SystemExit(f"{args.work} holds no held-out answers at temperature {args.temperature:g}")
    tokens = sum(len(one.states) for one in answers)
    text = Text(
        says=f"{len(answers)} answers of the target at T = {args.temperature:g} to held-out prompts, "
        f"{tokens} tokens",
        passages=tuple(
            Passage(tokens=tuple(one.ids.tolist()), start=one.answer_start)
            for one in sorted(answers, key=lambda one: one.index)
        ),
    )
    path = args.out or data_path(SHIPPED_TEXT)
    save_text(text, path, fingerprint=load_tokenizer(SHIPPED, end="target").fingerprint)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB; {text.says}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
