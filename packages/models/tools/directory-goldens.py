"""Writes what transformers reads of Hugging Face directories: special tokens, chat templates, added tokens.

    python packages/models/tools/directory-goldens.py > packages/models/test/goldens/directories.json

Needs transformers and jinja2. Each case holds the files of a directory beside `tokenizer.json`, which all share but for
what a case changes of its added tokens, and what transformers makes of them.
"""

import json
import pathlib
import sys
import tempfile

import transformers
from transformers import PreTrainedTokenizerFast


def byte_characters():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def added(token_id, content, special, **flags):
    return {
        "id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": special, **flags,
    }


ADDED = [
    added(256, "<|endoftext|>", True),
    added(257, "<|im_start|>", True),
    added(258, "<|im_end|>", True),
    added(259, "<tool>", False),
]


def tokenizer_json(tokens):
    characters = byte_characters()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {characters[byte]: byte for byte in range(256)}, "merges": [],
        },
    }


def token(content, **flags):
    return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, **flags}


def decoder(*tokens):
    return {str(one["id"]): {key: value for key, value in one.items() if key != "id"} for one in tokens}


SHOW = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}|{{ image_token }}"
NAMED = [{"name": "default", "template": "listed " + SHOW}, {"name": "tool_use", "template": "listed tools"}]
CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}


def case(name, files, tokens=ADDED):
    return {"name": name, "added_tokens": tokens, "files": files}


CASES = [
    case("tokens of the configuration", {"tokenizer_config.json": {
        **CONFIG, "bos_token": "<|im_start|>", "eos_token": token("<|im_end|>"), "chat_template": SHOW}}),
    case("tokens of the map alone", {
        "tokenizer_config.json": {**CONFIG, "chat_template": SHOW},
        "special_tokens_map.json": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
                                    "pad_token": "<|endoftext|>"}}),
    case("objects in the map", {
        "tokenizer_config.json": {**CONFIG, "chat_template": SHOW},
        "special_tokens_map.json": {"eos_token": {
            "content": "<|im_end|>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}}}),
    case("the map before the configuration", {
        "tokenizer_config.json": {**CONFIG, "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
                                  "pad_token": "<|endoftext|>", "chat_template": SHOW},
        "special_tokens_map.json": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}}),
    case("the map behind the configuration's added tokens", {
        "tokenizer_config.json": {**CONFIG, "eos_token": "<|endoftext|>", "added_tokens_decoder": decoder(*ADDED),
                                  "chat_template": SHOW},
        "special_tokens_map.json": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}}),
    case("the map without a configuration", {
        "special_tokens_map.json": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
        "chat_template.jinja": SHOW}),
    case("a token of the model's own", {
        "tokenizer_config.json": {**CONFIG, "image_token": "<tool>", "chat_template": SHOW}}),
    case("a token of the model's own in the map", {
        "tokenizer_config.json": {**CONFIG, "image_token": "<|endoftext|>", "chat_template": SHOW},
        "special_tokens_map.json": {"image_token": "<tool>"}}),
    case("a null in the configuration", {
        "tokenizer_config.json": {**CONFIG, "bos_token": None, "eos_token": "<|im_end|>", "chat_template": SHOW}}),
    case("nothing at all", {}),
    case("named templates", {"tokenizer_config.json": {**CONFIG, "chat_template": NAMED}}),
    case("one named template that is not the default", {"tokenizer_config.json": {
        **CONFIG, "chat_template": [{"name": "rag", "template": "rag"}]}}),
    case("one named template for tools", {"tokenizer_config.json": {
        **CONFIG, "chat_template": [{"name": "tool_use", "template": "tools"}]}}),
    case("a file before named templates", {
        "tokenizer_config.json": {**CONFIG, "eos_token": "<|im_end|>", "chat_template": NAMED},
        "chat_template.jinja": "file " + SHOW}),
    case("a file and one for tools", {
        "tokenizer_config.json": {**CONFIG, "chat_template": NAMED},
        "chat_template.jinja": "file",
        "additional_chat_templates/tool_use.jinja": "file tools",
        "additional_chat_templates/rag.jinja": "file rag"}),
    case("a file for tools beside a configured template", {
        "tokenizer_config.json": {**CONFIG, "chat_template": "configured"},
        "additional_chat_templates/tool_use.jinja": "file tools"}),
    case("additional files without a default", {
        "tokenizer_config.json": {**CONFIG},
        "additional_chat_templates/rag.jinja": "file rag"}),
    case("a default among the additional", {
        "tokenizer_config.json": {**CONFIG, "chat_template": "configured"},
        "additional_chat_templates/default.jinja": "additional"}),
    case("a default among the additional and a file", {
        "chat_template.jinja": "file",
        "additional_chat_templates/default.jinja": "additional",
        "additional_chat_templates/notes.txt": "none"}),
    case("an empty template file", {
        "tokenizer_config.json": {**CONFIG, "chat_template": "configured"}, "chat_template.jinja": ""}),
    case("an end that the tokenizer does not call special, and the configuration does", {
        "tokenizer_config.json": {**CONFIG, "eos_token": "<|endoftext|>", "added_tokens_decoder": decoder(
            *ADDED[:2], added(258, "<|im_end|>", True), ADDED[3])}},
        [*ADDED[:2], added(258, "<|im_end|>", False), ADDED[3]]),
    case("an end that is known to the configuration alone", {
        "tokenizer_config.json": {**CONFIG, "eos_token": "<|im_end|>", "added_tokens_decoder": decoder(*ADDED)}},
        ADDED[:2]),
    case("a word that the configuration alone knows", {
        "tokenizer_config.json": {**CONFIG, "added_tokens_decoder": decoder(*ADDED)}}, ADDED[:3]),
    case("an end that is not called special, but named as the end", {
        "tokenizer_config.json": {**CONFIG, "eos_token": "<|im_end|>"}},
        [*ADDED[:2], added(258, "<|im_end|>", False), ADDED[3]]),
    case("an end that is a word of the vocabulary", {"tokenizer_config.json": {**CONFIG, "eos_token": "x"}}),
    case("additional special tokens", {"tokenizer_config.json": {**CONFIG, "additional_special_tokens": ["<tool>"]}}),
    case("additional special tokens in the map", {
        "tokenizer_config.json": {**CONFIG}, "special_tokens_map.json": {"additional_special_tokens": ["<tool>"]}}),
    case("extra special tokens by name", {
        "tokenizer_config.json": {**CONFIG, "extra_special_tokens": {"image_token": "<tool>"}, "chat_template": SHOW}}),
    case("a token that strips, by the configuration", {
        "tokenizer_config.json": {**CONFIG, "added_tokens_decoder": decoder(
            *ADDED[:3], added(259, "<tool>", False, lstrip=True, rstrip=True))}}),
]

TEXTS = ["a<|im_end|>b", "x <tool> y", "<|im_start|>user\n<|endoftext|>"]


def outcome(work):
    try:
        return work()
    except Exception as error:
        return {"refused": type(error).__name__}


def read(files, tokens):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "tokenizer.json").write_text(json.dumps(tokenizer_json(tokens)))
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        messages = [{"role": "user", "content": "Hi"}]
        tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}
        return {
            "bos": tokenizer.bos_token_id,
            "eos": tokenizer.eos_token_id,
            "ids": [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS],
            "shown": [tokenizer.decode(tokenizer.encode(text, add_special_tokens=False), skip_special_tokens=True)
                      for text in TEXTS],
            "plain": outcome(lambda: tokenizer.apply_chat_template(messages, tokenize=False)),
            "tools": outcome(lambda: tokenizer.apply_chat_template(messages, tools=[tool], tokenize=False)),
        }


json.dump(
    {
        "transformers": transformers.__version__,
        "texts": TEXTS,
        "tokenizer": tokenizer_json([]),
        "cases": [{**one, "read": read(one["files"], one["added_tokens"])} for one in CASES],
    },
    sys.stdout, indent=1, ensure_ascii=False,
)
sys.stdout.write("\n")
