"""What images' REST APIs are, by their own description (/openapi.json), and how they differ.

read, canonical_digest, operations    one description
difference                            two of them: what breaks a client, and what does not
same_api, of_run                      one run: all images of a ref must serve the same
of_runs, of_cells                     two runs, cell by cell
"""

from e2e_matrix.api.changes import ApiChange, ApiDifference, Kind, Severity
from e2e_matrix.api.consistency import Finding, of_run, same_api
from e2e_matrix.api.difference import difference
from e2e_matrix.api.document import canonical_digest, operations, read
from e2e_matrix.api.kept import Differences
from e2e_matrix.api.runs import ApiComparison, ApiPair, of_cells, of_runs

__all__ = [
    "ApiChange",
    "ApiComparison",
    "ApiDifference",
    "ApiPair",
    "Differences",
    "Finding",
    "Kind",
    "Severity",
    "canonical_digest",
    "difference",
    "of_cells",
    "of_run",
    "of_runs",
    "operations",
    "read",
    "same_api",
]
