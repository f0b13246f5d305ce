"""Keep downloaded objects on local disk by content, within a bound, for any number of processes.

    folder/sha256/ab/abcdef…        an entry: the object's bytes, read-only, complete and verified
    folder/sha256/ab/abcdef….seen   size, time and inode at its verification, and since which start of the machine
    folder/locks/                   one file per large download that runs, and `room`

`link` hands out a hard link and hashes nothing while an entry's size, time of change and inode are those
that were verified; `copy` hands out a file of one's own, hashed on the way. What was written over an entry
in place, with its size kept and its time set back, is seen by `copy` and `verify` and not by `link`.

An object of at most 64 KiB is hashed at every use instead, is downloaded in memory, and has neither `.seen`
nor a lock: a file of that size is hashed in the time that it takes to read what would be noted of it.

An entry's time of access is its last use. Room is made by last use before a download begins and is held by
a file of the object's full size, so that the bound holds at every moment. An entry with a second hard link
is in use and is not evicted.

Locks save work and keep the count exact; no result rests on them. Whatever is handed out was verified as
the very file it is, whichever process replaced or removed the entry meanwhile.
"""

from ecluse.storage.cache.cache import Cache, Cleared, Entry, Fetched, Verified

__all__ = ["Cache", "Cleared", "Entry", "Fetched", "Verified"]
