"""The router for LLM inference servers, from Python: the program is found and started, nothing else."""

from .program import find_program
from .router import Router, RouterError

__all__ = ["Router", "RouterError", "find_program"]
