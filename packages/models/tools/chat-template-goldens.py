"""Writes test/goldens/chat-template.json: what Jinja2, set up as transformers does, makes of many templates.

Run with a Python that has jinja2 and transformers: `python tools/chat-template-goldens.py`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "chat-template"))

from conversations import CONVERSATIONS  # noqa: E402
from expressions import EXPRESSIONS, TEMPLATES, VARIABLES  # noqa: E402
from models import MODELS, SPECIAL_TOKENS  # noqa: E402
from reference import render, render_conversation  # noqa: E402

GOLDEN = Path(__file__).parent.parent / "test" / "goldens" / "chat-template.json"


def main() -> None:
    """Renders everything and writes the golden."""
    variables = json.loads(VARIABLES)
    expressions = EXPRESSIONS.replace("\\\nb", "\\\0b").strip("\n").split("\n")
    sources = ["{{ " + line.replace("\0", "\n") + " }}" for line in expressions] + TEMPLATES
    models = [
        {
            "name": name,
            "source": source,
            "special_tokens": SPECIAL_TOKENS,
            "cases": [
                {"conversation": key, **render_conversation(source, conversation, SPECIAL_TOKENS)}
                for key, conversation in CONVERSATIONS.items()
            ],
        }
        for name, source in MODELS.items()
    ]
    golden = {
        "versions": {name: version(name) for name in ("jinja2", "transformers")},
        "variables": VARIABLES,
        "templates": [{"source": source, **render(source, dict(variables))} for source in sources],
        "conversations": CONVERSATIONS,
        "models": models,
    }
    GOLDEN.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(len(sources), "templates,", len(models), "models,", sum(len(m["cases"]) for m in models), "conversations")


if __name__ == "__main__":
    main()
