"""Jinja2 as `transformers` sets it up for chat templates; its own functions, so that nothing here can differ."""

from __future__ import annotations

import json
import warnings
from typing import Any

from transformers.utils import chat_template_utils

warnings.simplefilter("ignore")


def render(source: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The text, or the kind of error, as an entry of a golden."""
    try:
        template = chat_template_utils._compile_jinja_template(source)
        return {"text": template.render(**variables)}
    except Exception as error:  # noqa: BLE001 - a template may fail in any way that Python knows
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def render_conversation(source: str, conversation: dict[str, Any], special_tokens: dict[str, str]) -> dict[str, Any]:
    """As `apply_chat_template` renders it: messages without their null fields, reasoning under each of its names."""
    try:
        messages = chat_template_utils._normalize_chat_messages(json.loads(json.dumps(conversation["messages"])))
        options = {"add_generation_prompt": True, **special_tokens, **conversation.get("options", {})}
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[messages],
            tools=conversation.get("tools"),
            documents=options.pop("documents", None),
            chat_template=source,
            **options,
        )
        return {"text": rendered[0]}
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"[:200]}
