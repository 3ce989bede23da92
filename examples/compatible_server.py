r"""A server of your own that speaks OpenAI's chat completions.

For example vLLM, SGLang, Ollama, llama.cpp, LM Studio or OpenRouter.

`openai-api/SERVICE/MODEL`: the address is --base-url, else SERVICE_BASE_URL, else where such a
server usually listens; a key, if it wants one, is SERVICE_API_KEY. Such servers may answer 200 and
ignore what they do not know: the probe tells what is honoured. The prompt is proved on other
servers' models too. The miniatures zoo/blip2 and zoo/idefics3 stand in. With images of your own
(one sub-folder per class), and servers that you have started:

    python examples/compatible_server.py --model openai-api/vllm/Qwen/Qwen2.5-VL-3B-Instruct \
        --base-url http://127.0.0.1:8000/v1 --also openai-api/ollama/qwen3-vl:8b --task photos/
"""

from __future__ import annotations

import argparse

import bbtvp
from bbtvp.search.events import SearchEvent, SearchPlanned
from bbtvp.verify.events import ModelProbed, ProofEvent


def watch(event: SearchEvent | ProofEvent) -> None:
    if isinstance(event, ModelProbed):
        print(*(f"{event.spec}: {finding}" for finding in event.findings), sep="\n")
    if isinstance(event, SearchPlanned):
        for spec, findings in event.probes.items():
            print(*(f"{spec}: {finding}" for finding in findings), sep="\n")
        print(f"answers are read by {event.reader}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="zoo/blip2", help="the source: the one model that the search asks"
    )
    parser.add_argument("--base-url", help="where the source's server listens, with its /v1")
    parser.add_argument(
        "--also",
        nargs="*",
        default=["zoo/idefics3"],
        help="targets: models that only the proof asks",
    )
    parser.add_argument(
        "--concurrency", type=int, help="most requests at once; one that queues them gains nothing"
    )
    parser.add_argument(
        "--task", default="zoo/digits-bright", help="zoo/NAME, an image folder, a .csv or .jsonl"
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=400, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="server.vprompt", help="where the prompt goes")
    args = parser.parse_args()

    given = {"base_url": args.base_url, "concurrency": args.concurrency}
    source = bbtvp.load_model(
        args.model, **{name: value for name, value in given.items() if value is not None}
    )
    task = bbtvp.load_task(args.task, limit=args.limit)
    run = bbtvp.optimize(task, source, budget=args.queries, seed=args.seed, watch=watch)
    run.save(args.out)
    print(f"saved {args.out}")
    models = [source, *(bbtvp.load_model(spec) for spec in args.also)]
    for row in bbtvp.verify(
        run.prompt, task, models, source=source.spec, seed=args.seed, watch=watch
    ).rows:
        low, high = row.gain_ci95
        print(f"{row.model}, {row.role}: {row.zero_shot:.1%} -> {row.prompted:.1%}", end=", ")
        print(f"gain {row.gain:+.1%} [{low:+.1%}, {high:+.1%}], {row.failed} queries failed")


if __name__ == "__main__":
    main()
