"""Chat messages turned into the text that a chat model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steerlab.errors import SteerlabError


def conversations(inputs: Any) -> list[list[Mapping[str, Any]]] | None:
    """One or several conversations as a list of them; None for anything else.

    A conversation is a list of messages, each with the keys ``role`` and ``content``.
    """
    if _is_conversation(inputs):
        return [list(inputs)]
    if isinstance(inputs, (list, tuple)) and inputs and all(_is_conversation(one) for one in inputs):
        return [list(one) for one in inputs]
    return None


def chat_texts(chats: Sequence[Sequence[Mapping[str, Any]]], processor: Any) -> list[str]:
    """The text of each conversation, open at its end for the assistant to go on.

    A conversation that ends with words of the assistant is left open behind them.
    """
    if getattr(processor, "chat_template", None) is None:
        raise SteerlabError(
            f"{type(processor).__name__} has no chat template, so it cannot turn messages into text; pass "
            "text, or set its chat_template"
        )
    texts = []
    for chat in chats:
        goes_on = chat[-1]["role"] == "assistant"
        how = {"continue_final_message": True} if goes_on else {"add_generation_prompt": True}
        texts.append(processor.apply_chat_template(list(chat), tokenize=False, **how))
    return texts


def _is_conversation(inputs: Any) -> bool:
    if not isinstance(inputs, (list, tuple)) or not inputs:
        return False
    return all(isinstance(one, Mapping) and {"role", "content"} <= set(one) for one in inputs)
