"""Trains the tokenizer, exports it, and packs the corpus into rows of token ids.

    python train_tokenizer.py --corpus corpus --out data

Writes out/tokenizer/ (files for transformers), out/train.npy and out/val.npy (uint16 [rows, length]; documents start
with <bos> and are never cut), and out/data.json with counts.
"""

import argparse
import bisect
import itertools
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tokens import BOS, PAD, SPECIAL, STOP, VOCABULARY

Document = dict[str, Any]  # {"turns": [[question, answer], ...]} or {"text": ...}

# Gemma's turns; a system message goes before the first user message, as Gemma has no system role.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- if messages[0]['role'] == 'system' -%}"
    "{%- set first = messages[0]['content'] + '\n\n' -%}{%- set rest = messages[1:] -%}"
    "{%- else -%}{%- set first = '' -%}{%- set rest = messages -%}{%- endif -%}"
    "{%- for message in rest -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{%- endif -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') "
    "+ (message['content'] | trim) + '<end_of_turn>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)

POOL = 400  # documents to choose from when a row is filled: enough to leave under 1% of it empty
ENCODE_BATCH = 20_000  # documents; bounds the memory of the tokenizer's results


def render(document: Document) -> str:
    """The text of a document, special tokens spelled out."""
    if "text" in document:
        return f"<bos>{document['text']}<eos>"
    turns = "".join(
        f"<start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model\n{answer}<end_of_turn>\n"
        for question, answer in document["turns"]
    )
    return f"<bos>{turns}"


def plain_texts(document: Document) -> list[str]:
    """The texts of a document, without anything around them."""
    return [document["text"]] if "text" in document else [text for turn in document["turns"] for text in turn]


def read(path: Path) -> Iterator[Document]:
    with open(path) as file:
        yield from map(json.loads, file)


def train(texts: Iterable[str]) -> Tokenizer:
    """Byte-level BPE; digits stay single, words split as in GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < VOCABULARY:
        print(f"the corpus yields only {tokenizer.get_vocab_size()} tokens; the other ids will never be used")
    assert [tokenizer.id_to_token(i) for i in range(len(SPECIAL))] == SPECIAL
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", BOS)]
    )
    return tokenizer


def export(tokenizer: Tokenizer, out: Path) -> None:
    """Writes what `AutoTokenizer` and `generate` of transformers read."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    turns = {"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]}
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    files = {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": True,
            "add_eos_token": False,
            "added_tokens_decoder": {str(i): {"content": token, **plain} for i, token in enumerate(SPECIAL)},
            **turns,
            **roles,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 2048,
        },
        "special_tokens_map.json": {**roles, **turns},
        "generation_config.json": {
            "bos_token_id": BOS,
            "pad_token_id": PAD,
            "eos_token_id": STOP,
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.95,
            "top_k": 64,
        },
    }
    for name, value in files.items():
        (out / name).write_text(json.dumps(value, indent=2) + "\n")


def pack(documents: Iterable[np.ndarray], length: int, seed: int) -> np.ndarray:
    """Fills rows with whole documents, always the longest of a pool that still fits.

    Returns uint16 [rows, length], shuffled and padded with PAD. Documents longer than a row are dropped.
    """
    r = random.Random(seed)
    documents = [d for d in documents if len(d) <= length]
    r.shuffle(documents)
    source = iter(documents)
    # (length, arrival, document), sorted by the first two; arrival keeps equal lengths apart.
    pool = sorted(((len(d), i, d) for i, d in enumerate(itertools.islice(source, POOL))), key=lambda entry: entry[:2])
    arrived, rows = POOL, []
    while pool:
        row = np.full(length, PAD, np.uint16)
        # Start with any document, so that long ones do not all come first.
        size, _, document = pool.pop(r.randrange(len(pool)))
        at = 0
        while True:
            row[at : at + size] = document
            at += size
            fresh = next(source, None)
            if fresh is not None:
                arrived += 1
                bisect.insort(pool, (len(fresh), arrived, fresh), key=lambda entry: entry[:2])
            fits = bisect.bisect_right(pool, length - at, key=lambda entry: entry[0])
            if not fits:
                break
            size, _, document = pool.pop(fits - 1)
        rows.append(row)
    return np.stack(rows)[np.random.default_rng(seed).permutation(len(rows))]


def encode(tokenizer: Tokenizer, path: Path, length: int, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The packed rows of a corpus file, and counts."""
    ids: list[np.ndarray] = []
    documents = read(path)
    while texts := [render(d) for d in itertools.islice(documents, ENCODE_BATCH)]:
        ids += [np.array(e.ids, np.uint16) for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    if not any(len(d) <= length for d in ids):
        raise SystemExit(f"{path} has no document of at most {length} tokens.")
    rows = pack(ids, length, seed)
    tokens = int((rows != PAD).sum())
    stats = {
        "documents": len(ids),
        "dropped": sum(len(d) > length for d in ids),
        "tokens": tokens,
        "rows": len(rows),
        "filled": round(tokens / rows.size, 4),
    }
    print(path.stem, stats, flush=True)
    return rows, stats


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--corpus", type=Path, required=True, help="folder with train.jsonl and val.jsonl")
    add("--out", type=Path, required=True, help="folder to write to")
    add("--length", type=int, default=1024, help="tokens in a row (%(default)s)")
    add("--sample", type=int, default=80_000, help="documents to train the tokenizer on (%(default)s)")
    add("--seed", type=int, default=1, help="(%(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    sample = itertools.islice(read(args.corpus / "train.jsonl"), args.sample)
    tokenizer = train(text for document in sample for text in plain_texts(document))
    export(tokenizer, args.out / "tokenizer")
    stats = {}
    for name in ("val", "train"):
        rows, stats[name] = encode(tokenizer, args.corpus / f"{name}.jsonl", args.length, args.seed)
        np.save(args.out / f"{name}.npy", rows)
    (args.out / "data.json").write_text(json.dumps(stats, indent=1))


if __name__ == "__main__":
    main()
