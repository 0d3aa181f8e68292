"""Where everything of a store lives, and who may touch it when. R is the root, mode 0700.

    R/chandlery.db              SQLite, WAL: what is here, what uses what, when it was last used (schema.py)
    R/blobs/sha256/<hex>        OCI blobs. Written under R/builds or R/blobs/new, fsynced, renamed. Never changed afterwards
    R/blobs/new/<random>        a small blob on its way
    R/snapshots/<id>/fs         a committed layer as an overlay lower. Renamed here inside the transaction that adds its row
    R/objects/ab/<key>          file contents of cache volumes (package volume)
    R/volumes/<id>/<name>/      directories of a cache volume (package volume), each flocked by whoever uses it
    R/git/<name>                mirrors of git remotes (package source); R/git/<name>.lock is flocked by whoever uses one
    R/contexts/<name>           what is remembered of local contexts (package source)
    R/logs/<build id>.log       output of a build; stays after it
    R/logs/<build id>.step      the RUN step at which it failed, to run it again (engine/again.py)
    R/builds/<id>/lock          flocked by the running build for as long as it lives
    R/builds/<id>/leases        what that build holds, a "kind name" line each
    R/builds/<id>/<prefix><n>/  scratch of that build
    R/builds/<id>.new/          a build directory that is being made: no lock is held yet
    R/locks/<name>              flocked while one process runs the step (or fetches the layer) of that name
    R/trash/<random>            removed from its place, being deleted
    R/reserve                   1 MiB of nothing, which a prune of a full disk gives up first (reserve.py)

Lock rules, in the order in which locks may be taken:

1.  A step lock (R/locks) is taken before, never inside, a database transaction.
2.  The database's write lock orders everything that could be taken away. Who wants to use something takes its lease inside a
    write transaction, in which it also sees that the thing is there. Prune deletes rows in one write transaction, and moves
    files to the trash in another, in which it looks at leases and rows again. So a thing that was leased while it was there stays.
3.  A lease counts while its build's lock is held. Nothing has to be undone for a build that died: its directory is
    garbage, which the next build or prune removes.
4.  A row never names a file that is not there, after any crash: files appear before their rows commit and go after their
    rows' removal has committed. What is left by a crash is files without rows, which prune removes.
"""

from chandlery.values import value

DIRECTORIES = ("blobs", "blobs/sha256", "blobs/new", "snapshots", "objects", "volumes", "git", "contexts", "logs", "builds", "locks", "trash")


@value
class StoreLayout:
    """The paths of the store at `root`, an absolute path. Pure: nothing here looks at the disk."""

    root: str

    @property
    def database(self) -> str:
        return self.root + "/chandlery.db"

    @property
    def blobs(self) -> str:
        return self.root + "/blobs"

    @property
    def new_blobs(self) -> str:
        return self.root + "/blobs/new"

    def blob(self, digest: str) -> str:
        """Where the blob of a well-formed digest is, or would be."""
        algorithm, _, hex_part = digest.partition(":")
        return f"{self.root}/blobs/{algorithm}/{hex_part}"

    @property
    def snapshots(self) -> str:
        return self.root + "/snapshots"

    def snapshot(self, snapshot_id: str) -> str:
        """The directory that an overlay mount takes as a lower."""
        return f"{self.root}/snapshots/{snapshot_id}/fs"

    @property
    def objects(self) -> str:
        return self.root + "/objects"

    @property
    def volumes(self) -> str:
        return self.root + "/volumes"

    @property
    def git(self) -> str:
        return self.root + "/git"

    @property
    def contexts(self) -> str:
        return self.root + "/contexts"

    @property
    def logs(self) -> str:
        return self.root + "/logs"

    def log(self, build_id: str) -> str:
        return f"{self.root}/logs/{build_id}.log"

    @property
    def builds(self) -> str:
        return self.root + "/builds"

    @property
    def locks(self) -> str:
        return self.root + "/locks"

    @property
    def reserve(self) -> str:
        return self.root + "/reserve"

    @property
    def trash(self) -> str:
        return self.root + "/trash"
