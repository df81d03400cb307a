"""The stand-in LLM: ``standin`` serves, ``wire`` says what."""

from e2e_matrix.llm.standin import StandIn

__all__ = ["StandIn"]
