r"""Idefics3: a run folder that survives a kill, another optimiser, and progress as it goes.

Stop it at any moment and start it again by the same command: no answered query is sent twice, and
the prompt is the same to the bit. The miniature zoo/idefics3 stands for
hf/HuggingFaceM4/Idefics3-8B-Llama3: a SigLIP tower whose tokens are shuffled together before a
Llama. With that model and your own images (one sub-folder per class):

    python examples/idefics3.py --model hf/HuggingFaceM4/Idefics3-8B-Llama3 \
        --device cuda --dtype bfloat16 \
        --task photos/ --folder runs/photos
"""

from __future__ import annotations

import argparse

import bbtvp
from bbtvp.search.events import GenerationDone, SearchEvent


def watch(event: SearchEvent) -> None:
    if isinstance(event, GenerationDone):
        print(
            f"{event.stage} {event.generation}: loss {event.mean:.3f} after {event.queries} queries"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/idefics3", help="the model that the search asks")
    parser.add_argument(
        "--task", default="zoo/reasoning-bright", help="zoo/NAME, an image folder, a .csv or .jsonl"
    )
    parser.add_argument(
        "--method", default="ng:OnePlusOne", help="cma, spsa-gc, random, ng:NAME, …"
    )
    parser.add_argument(
        "--queries", type=int, default=1000, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", default="runs/idefics3", help="the run's journal: what makes it resumable"
    )
    parser.add_argument("--out", default="idefics3.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    model = bbtvp.load_model(args.model, device=args.device, dtype=args.dtype)
    run = bbtvp.optimize(
        args.task,
        model,
        budget=args.queries,
        method=args.method,
        seed=args.seed,
        out=args.folder,
        watch=watch,
    )
    (row,) = bbtvp.verify(
        run.prompt, run.task, [model], source=model.spec, seed=args.seed, out=args.folder
    ).rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )
    run.save(args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
