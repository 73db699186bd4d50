"""Which span means what: the names that instrumentations of language models use, today's and earlier ones.

Sources: OpenTelemetry semantic conventions for generative AI, 1.27 to 1.41 (https://opentelemetry.io/docs/specs/semconv/
gen-ai/); OpenInference (https://arize-ai.github.io/openinference/spec/); OpenLLMetry's ``traceloop.*``, from which the
first of these grew.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from nervous_system.capture.otlp.spans import Attributes, Span


class Meaning(Enum):
    """What a span stands for."""

    MODEL = "a model that was asked"
    TOOL = "a tool that was used"
    AGENT = "an agent that was given a task"
    DECISION = "a choice"
    OTHER = "nothing of an agent's"


OPERATION = "gen_ai.operation.name"
_BY_OPERATION = {
    "chat": Meaning.MODEL,
    "text_completion": Meaning.MODEL,
    "generate_content": Meaning.MODEL,
    "embeddings": Meaning.MODEL,
    "execute_tool": Meaning.TOOL,
    "retrieval": Meaning.TOOL,
    "create_agent": Meaning.TOOL,
    "invoke_agent": Meaning.AGENT,
    "invoke_workflow": Meaning.AGENT,
    "plan": Meaning.DECISION,
}
_BY_OPENINFERENCE = {
    "LLM": Meaning.MODEL,
    "EMBEDDING": Meaning.MODEL,
    "TOOL": Meaning.TOOL,
    "RETRIEVER": Meaning.TOOL,
    "RERANKER": Meaning.TOOL,
    "GUARDRAIL": Meaning.TOOL,
    "EVALUATOR": Meaning.TOOL,
    "CHAIN": Meaning.TOOL,
    "PROMPT": Meaning.TOOL,
    "AGENT": Meaning.AGENT,
    "DECISION": Meaning.DECISION,
}
_BY_TRACELOOP = {
    "tool": Meaning.TOOL,
    "task": Meaning.TOOL,
    "agent": Meaning.AGENT,
    "workflow": Meaning.AGENT,
}

# Each fact's names, the one that says it best first.
MODEL_NAME = (
    "gen_ai.response.model",
    "llm.response.model_name",
    "gen_ai.request.model",
    "llm.model_name",
    "llm.request.model_name",
    "embedding.model_name",
)
TOOL_NAME = ("gen_ai.tool.name", "tool.name", "tool_call.function.name", "mcp.tool.name", "traceloop.entity.name")
ARGUMENTS = (
    "gen_ai.tool.call.arguments",
    "gen_ai.retrieval.query.text",
    "input.value",
    "traceloop.entity.input",
    "tool_call.function.arguments",
    "tool.parameters",
)
RESULT = ("gen_ai.tool.call.result", "gen_ai.retrieval.documents", "output.value", "traceloop.entity.output")
INPUT_TOKENS = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
)
OUTPUT_TOKENS = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
)
COST = ("llm.cost.total", "gen_ai.usage.cost", "gen_ai.usage.total_cost")
AGENT_NAME = ("gen_ai.agent.name", "agent.name", "gen_ai.agent.id", "agent.id")
WORKFLOW_NAME = ("gen_ai.workflow.name", "traceloop.entity.name", "traceloop.workflow.name")
SESSION = ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
USER = ("enduser.id", "user.id", "traceloop.association.properties.user_id")
EXIT_CODE = ("process.exit.code",)
_MODEL_MARKS = ("gen_ai.request.model", "gen_ai.system", "gen_ai.provider.name", "llm.model_name", "llm.request.type")


def meaning(span: Span) -> Meaning:
    """What the span stands for."""
    attributes = span.attributes
    for name, table in (
        (OPERATION, _BY_OPERATION),
        ("openinference.span.kind", _BY_OPENINFERENCE),
        ("traceloop.span.kind", _BY_TRACELOOP),
    ):
        found = table.get(str(attributes.get(name)))
        if found:
            return found
    if "gen_ai.tool.name" in attributes or "gen_ai.tool.call.id" in attributes:
        return Meaning.TOOL
    if any(mark in attributes for mark in _MODEL_MARKS):
        return Meaning.MODEL
    # An operation or a kind of tomorrow is still an agent's.
    return Meaning.TOOL if OPERATION in attributes or "openinference.span.kind" in attributes else Meaning.OTHER


class Reading:
    """A span's attributes as they are asked for; what nobody asked for is left at the end."""

    def __init__(self, attributes: Attributes) -> None:
        self.left = dict(attributes)

    def take(self, names: Sequence[str]) -> Any:
        """The value of the first of these names that is there; None where none is. Other names of the fact stay."""
        for name in names:
            if self.left.get(name) not in (None, ""):
                return self.left.pop(name)
        return None

    def peek(self, names: Sequence[str]) -> Any:
        """As ``take``, but the attribute stays."""
        return next((self.left[name] for name in names if self.left.get(name) not in (None, "")), None)

    def take_below(self, prefix: str) -> dict[str, Any]:
        """All attributes whose names start with ``prefix``, under what follows it."""
        names = [name for name in self.left if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.left.pop(name) for name in names}

    def number(self, names: Sequence[str]) -> float:
        """A number that is not negative; 0 where there is none, or it is anything else, which then stays."""
        value = self.peek(names)
        try:
            number = float(value)
        except (TypeError, ValueError):
            return 0.0
        if isinstance(value, bool) or not 0 <= number < 2**63:
            return 0.0
        self.take(names)
        return number
