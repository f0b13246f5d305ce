"""Run SeaweedFS and PostgreSQL from pip on this machine, so that the production shape fits a laptop.

`LocalServers` is opened and closed; `running` and `stop` reach the servers another process has opened.
"""

from ecluse.servers.local import BUCKETS, LocalServers, Running, running, stop

__all__ = ["BUCKETS", "LocalServers", "Running", "running", "stop"]
