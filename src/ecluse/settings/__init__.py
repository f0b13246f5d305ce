"""Read the environment once, at the edge, into a frozen `Settings` that says where each value came from."""

from ecluse.settings.accounts import KEY_BYTES, AccountsSettings, is_key
from ecluse.settings.client import chosen_server, config_folder, names_home, state_folder
from ecluse.settings.documents import (
    DATABASE_TYPES,
    DatabaseType,
    DocumentsSettings,
    DynamoDBSettings,
    MongoDBSettings,
)
from ecluse.settings.environment import (
    adopt,
    inherited,
    read_variables,
    replace_variables,
    shows_traces,
    surrounding,
)
from ecluse.settings.in_force import in_force
from ecluse.settings.mail import MailSettings
from ecluse.settings.providers import ProviderSettings
from ecluse.settings.schemes import SCHEMES, Access, Scheme, local_folder, scheme_of, schemes, split_root
from ecluse.settings.settings import RISKS, Settings
from ecluse.settings.stores import AREAS, Area, store_or_folder
from ecluse.settings.values import (
    GIB,
    Detected,
    Secret,
    Section,
    fits_a_header,
    flag,
    web_address,
    without_password,
)
from ecluse.settings.variables import VARIABLES, variables

__all__ = [
    "AREAS",
    "DATABASE_TYPES",
    "GIB",
    "KEY_BYTES",
    "RISKS",
    "SCHEMES",
    "VARIABLES",
    "Access",
    "AccountsSettings",
    "Area",
    "DatabaseType",
    "Detected",
    "DocumentsSettings",
    "DynamoDBSettings",
    "MailSettings",
    "MongoDBSettings",
    "ProviderSettings",
    "Scheme",
    "Secret",
    "Section",
    "Settings",
    "adopt",
    "chosen_server",
    "config_folder",
    "fits_a_header",
    "flag",
    "in_force",
    "inherited",
    "is_key",
    "local_folder",
    "names_home",
    "read_variables",
    "replace_variables",
    "scheme_of",
    "schemes",
    "shows_traces",
    "split_root",
    "state_folder",
    "store_or_folder",
    "surrounding",
    "variables",
    "web_address",
    "without_password",
]
