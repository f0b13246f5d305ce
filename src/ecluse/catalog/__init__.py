"""Keep rows about users, datasets, trainings, models and predictions in SQLite or PostgreSQL.

`Catalog` opens the database; the functions of the modules here take one of its transactions. SQL is
written nowhere else.
"""

from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.database import Catalog

__all__ = ["Catalog", "Transaction"]
