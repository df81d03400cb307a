"""The stand-in LLM: ``standin`` serves, ``replies`` decides what is said, ``wire`` says it."""

from e2e_matrix.llm.standin import StandIn

__all__ = ["StandIn"]
