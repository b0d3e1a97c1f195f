"""Conversations that every model's template is given; a template may refuse some of them."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'The weather of a city: "now" & <soon>.',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city, é 漢"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14, "default": 1},
                "scale": {"type": "number", "exclusiveMinimum": 0.5},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}
SEARCH = {
    "type": "function",
    "function": {"name": "search", "description": "Looks for pages.", "parameters": {"type": "object", "properties": {}}},
}

USER = {"role": "user", "content": "Hi!"}
ASSISTANT = {"role": "assistant", "content": "Hello. How can I help?"}
SYSTEM = {"role": "system", "content": "  You are terse.\n"}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "deep": {"a": [1, 2.5, None, True]}}},
        }
    ],
}
TOOL = {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": '{"sky": "clear", "t": 21.0}'}
THOUGHT = {
    "role": "assistant",
    "reasoning_content": "\nIt greets.\n  Be kind.\n",
    "content": "\n\nHello there.",
}
INLINE = {"role": "assistant", "content": "<think>\n  indented thought\n</think>\n\n    four spaces 😀"}

CONVERSATIONS = {
    "one message": {"messages": [USER]},
    "no generation prompt": {"messages": [USER, ASSISTANT], "options": {"add_generation_prompt": False}},
    "system": {"messages": [SYSTEM, USER]},
    "several turns": {"messages": [SYSTEM, USER, ASSISTANT, {"role": "user", "content": "  Bye\n\n"}]},
    "thoughts": {"messages": [USER, THOUGHT, {"role": "user", "content": "And?"}, INLINE, {"role": "user", "content": "😀 ok"}]},
    "thinking off": {"messages": [USER], "options": {"enable_thinking": False}},
    "thinking on": {"messages": [SYSTEM, USER], "options": {"enable_thinking": True, "thinking": True}},
    "tools": {"messages": [USER], "tools": [WEATHER, SEARCH]},
    "a call": {"messages": [SYSTEM, {"role": "user", "content": "Weather?"}, CALL, TOOL], "tools": [WEATHER]},
    "two calls and an answer": {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {**CALL, "content": None, "tool_calls": CALL["tool_calls"] * 2},
            TOOL,
            TOOL,
            {"role": "assistant", "content": "Clear."},
            {"role": "user", "content": "Thanks"},
        ],
        "tools": [WEATHER],
    },
    "documents": {
        "messages": [USER],
        "options": {"documents": [{"title": "A", "text": "first"}, {"title": "B", "text": "second"}]},
    },
    "two users": {"messages": [USER, USER]},
    "unknown role": {"messages": [USER, {"role": "critic", "content": "Meh"}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]}]},
    "parts as text": {"messages": [{"role": "user", "content": "One\ntwo"}]},
    "empty": {"messages": []},
}
