"""Take over what an MLflow server holds: its runs with their curves, its files, its versions and their aliases.

It is asked by its REST API alone; nothing of MLflow's library is needed, and nothing that is pickled is read.
"""

from ecluse.client.mlflow.importing import Import, Outcome, import_from
from ecluse.client.mlflow.server import MlflowServer, access_to

__all__ = ["Import", "MlflowServer", "Outcome", "access_to", "import_from"]
