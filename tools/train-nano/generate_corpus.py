"""Makes the training corpus: samples a teacher model, sifts its answers, adds hand-written exchanges.

    python generate_corpus.py --teacher SmolLM2-135M-Instruct.Q4_1.gguf --out corpus

Writes train.jsonl and val.jsonl, one document a line, {"turns": [[question, answer], ...]} or {"text": ...}, and
corpus.json with counts. The hand-written part depends on the seed alone; the teacher's also on the device and on how
far it gets in the given time.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

import filters
import handwritten
import prompts as P

Row = tuple[str, str, str]  # (kind, question, answer)
Log = Callable[[str], None]

SPAWN = multiprocessing.get_context("spawn")  # workers must not inherit the device context
WORKER: dict[str, Tokenizer] = {}  # each worker process's own tokenizer

PROMPTS_PER_JOB = 20_000
ANSWERS_PER_JOB = 8192
HANDWRITTEN_PER_JOB = 5000

SYSTEMS = [
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer in short sentences.",
    "Be brief.",
    "You are a kind teacher.",
    "You are a storyteller for children.",
    "Answer as simply as you can.",
    "You are Unicorn Nano, a tiny demo model.",
    "You are a helpful assistant that answers in simple words.",
]
PLAIN = {"story": 0.15, "describe": 0.15, "poem": 0.05, "topic": 0.05}  # share written without turns
MOST_WORDS = 520  # of a conversation, so that it fits into a row of 1024 tokens


# ---------------------------------------------------------------- worker processes


def start_worker(tokenizer_json: str) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    WORKER["tokenizer"] = Tokenizer.from_str(tokenizer_json)


def make_prompts(
    category: P.Category, count: int, seed: int, max_prompt: int
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Prompt texts that fit, their ids padded to [prompts, max_prompt], and their lengths."""
    r = random.Random(seed)
    texts = [category.make(r) for _ in range(count)]
    ids = [e.ids for e in WORKER["tokenizer"].encode_batch([P.prompt_text(t) for t in texts])]
    fits = [i for i, x in enumerate(ids) if len(x) <= max_prompt]
    texts, ids = [texts[i] for i in fits], [ids[i] for i in fits]
    padded = np.zeros((len(ids), max_prompt), np.int32)
    for row, x in zip(padded, ids, strict=True):
        row[: len(x)] = x
    return texts, padded, np.array([len(x) for x in ids])


def sift(
    kind: str,
    examples: list[tuple[str, str]],
    questions: list[str],
    ids: np.ndarray,
    lengths: np.ndarray,
    scores: np.ndarray,
) -> tuple[list[tuple[str, str, str, float]], Counter[str]]:
    """The answers that pass the filters, as (kind, question, answer, score), and why the others failed."""
    example_grams = {g for _, answer in examples for g in filters.grams(filters.words_of(answer), filters.COPIED_WORDS)}
    kept, reasons = [], Counter()
    written = np.flatnonzero(lengths > 0)
    reasons["not finished"] = int((lengths < 0).sum())
    answers = WORKER["tokenizer"].decode_batch([ids[i, : lengths[i]].tolist() for i in written])
    for i, answer in zip(written, answers, strict=True):
        text = filters.clean(answer)
        why = "not ascii" if text is None else filters.problem(kind, text, example_grams)
        if why:
            reasons[why] += 1
        else:
            kept.append((kind, questions[i], text, float(scores[i])))
    return kept, reasons


def handwritten_rows(count: int, seed: int) -> list[Row]:
    return list(itertools.islice(handwritten.conversations(random.Random(seed)), count))


# ---------------------------------------------------------------- the teacher's part


def sample_teacher(args: argparse.Namespace, log: Log) -> tuple[list[Row], dict[str, Any]]:
    """All answers of the teacher that are kept, and counts."""
    import torch

    from teacher import Sampler, load_gguf

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config, weights, tokenizer = load_gguf(args.teacher, device, torch.bfloat16)
    eos = [tokenizer.token_to_id(t) for t in ("<|endoftext|>", "<|im_end|>")]
    sampler = Sampler(config, weights, eos, args.batch)
    pool = ProcessPoolExecutor(args.workers, SPAWN, start_worker, (tokenizer.to_str(),))
    torch.manual_seed(args.seed)

    def prepare(index: int) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The prompts of a category, made while the device samples the one before."""
        category = P.CATEGORIES[index]
        wanted = args.seconds * category.share * args.prompts_per_second
        count = max(args.batch, int(wanted / PROMPTS_PER_JOB + 1) * PROMPTS_PER_JOB)
        jobs = [
            pool.submit(
                make_prompts, category, min(PROMPTS_PER_JOB, count), hash((args.seed, index, i)), sampler.max_prompt
            )
            for i in range(-(-count // PROMPTS_PER_JOB))
        ]
        texts, ids, lengths = zip(*(job.result() for job in jobs), strict=True)
        return list(itertools.chain(*texts)), np.concatenate(ids), np.concatenate(lengths)

    ahead = ThreadPoolExecutor(1)
    ready = ahead.submit(prepare, 0)
    sifting: list[Future] = []
    sampled = 0
    for index, category in enumerate(P.CATEGORIES):
        texts, ids, lengths = ready.result()
        if index + 1 < len(P.CATEGORIES):
            ready = ahead.submit(prepare, index + 1)
        log(
            f"{category.name} ({category.mode}, temperature {category.temperature}): "
            f"{len(texts):,} prompts, {len(set(texts)):,} distinct"
        )
        sampler.temperature = category.temperature
        prefix = tokenizer.encode(P.prefix_text(category)).ids
        out, length, score = sampler.generate(prefix, ids, lengths, args.seconds * category.share, log)
        sampled += int(np.abs(length).sum())
        for i in range(0, len(texts), ANSWERS_PER_JOB):
            s = slice(i, i + ANSWERS_PER_JOB)
            if np.any(length[s]):
                sifting.append(
                    pool.submit(sift, category.name, category.examples, texts[s], out[s], length[s], score[s])
                )

    reasons: Counter[str] = Counter()
    by_kind: dict[str, list[tuple[str, str, str, float]]] = {}
    for rows, why in (job.result() for job in sifting):
        reasons.update(why)
        for row in rows:
            by_kind.setdefault(row[0], []).append(row)
    log(f"sampled {sampled:,} answer tokens; dropped: {dict(reasons)}")
    for kind, rows in by_kind.items():
        rows.sort(key=lambda row: -row[3])  # the teacher's own doubt: the least likely answers go
        by_kind[kind] = rows[: int(len(rows) * args.keep_likely)]
    masks = {kind: pool.submit(filters.near_duplicates, [row[2] for row in rows]) for kind, rows in by_kind.items()}
    result: list[Row] = []
    for kind, rows in by_kind.items():
        fresh = [row[:3] for row, keep in zip(rows, masks[kind].result(), strict=True) if keep]
        words = sum(len(answer.split()) for _, _, answer in fresh)
        log(f"kept {len(fresh):,} {kind} ({words:,} words), {len(rows) - len(fresh):,} near duplicates dropped")
        result += fresh
    pool.shutdown()
    return result, {"raw_answer_tokens": sampled, "dropped": reasons}


# ---------------------------------------------------------------- documents


def documents(rows: Iterable[Row], r: random.Random) -> Iterator[dict[str, Any]]:
    """Groups exchanges into conversations of one to five; some texts stay plain."""
    rows, at = list(rows), 0
    r.shuffle(rows)
    while at < len(rows):
        kind, question, answer = rows[at]
        if r.random() < PLAIN.get(kind, 0):
            yield {"text": answer}
            at += 1
            continue
        wanted = r.choices([1, 2, 3, 5], [0.62, 0.22, 0.11, 0.05])[0]
        turns: list[list[str]] = []
        words = 0
        while at < len(rows) and len(turns) < wanted:
            _, question, answer = rows[at]
            size = len(question.split()) + len(answer.split())
            if turns and words + size > MOST_WORDS:
                break
            turns.append([question, answer])
            words += size
            at += 1
        if r.random() < 0.04:
            turns.insert(0, list(handwritten.small_talk(r)))
        if r.random() < 0.04:
            turns[0][0] = r.choice(SYSTEMS) + "\n\n" + turns[0][0]
        yield {"turns": turns}


def held_out(row: Row) -> bool:
    """One exchange in a hundred, chosen by its text, so that a repeated one is on one side only."""
    _, question, answer = row
    return zlib.crc32(f"{question}\n{answer}".encode()) % 100 == 0


def count_words(rows: Iterable[Row]) -> int:
    return sum(len(question.split()) + len(answer.split()) for _, question, answer in rows)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--teacher", help="Llama-architecture GGUF; leave out for the hand-written part only")
    add("--out", type=Path, required=True, help="folder to write to")
    add("--seconds", type=float, default=330, help="sampling time of all categories (%(default)s)")
    add("--batch", type=int, default=4096, help="answers written side by side (%(default)s)")
    add("--prompts-per-second", type=int, default=9000, help="upper guess, to prepare enough (%(default)s)")
    add("--keep-likely", type=float, default=0.8, help="share of the likeliest answers to keep (%(default)s)")
    add("--handwritten", type=int, default=420_000, help="hand-written exchanges (%(default)s)")
    add("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="processes (%(default)s)")
    add("--seed", type=int, default=1, help="(%(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.time()

    def log(text: str) -> None:
        print(f"{time.time() - start:6.1f} {text}", flush=True)

    with ProcessPoolExecutor(max(1, args.workers // 2), SPAWN) as pool:
        jobs = [
            pool.submit(handwritten_rows, min(HANDWRITTEN_PER_JOB, args.handwritten - first), 1000 * args.seed + i)
            for i, first in enumerate(range(0, args.handwritten, HANDWRITTEN_PER_JOB))
        ]
        sampled, stats = sample_teacher(args, log) if args.teacher else ([], {})
        own = list(itertools.chain.from_iterable(job.result() for job in jobs))
    stats |= {
        "teacher_exchanges": len(sampled),
        "teacher_words": count_words(sampled),
        "handwritten_exchanges": len(own),
        "handwritten_words": count_words(own),
        "teacher_by_kind": Counter(kind for kind, _, _ in sampled),
    }
    log(
        f"teacher: {len(sampled):,} exchanges, {stats['teacher_words']:,} words; "
        f"hand-written: {len(own):,}, {stats['handwritten_words']:,} words"
    )

    r = random.Random(args.seed)
    sides: dict[str, list[Row]] = {"val": [], "train": []}
    for row in sampled + own:
        sides["val" if held_out(row) else "train"].append(row)
    for name, rows in sides.items():
        count = 0
        with open(args.out / f"{name}.jsonl", "w") as file:
            for document in documents(rows, r):
                file.write(json.dumps(document) + "\n")
                count += 1
        stats[f"{name}_documents"] = count
        log(f"{name}: {count:,} documents")
    (args.out / "corpus.json").write_text(json.dumps(stats, indent=1))


if __name__ == "__main__":
    main()
