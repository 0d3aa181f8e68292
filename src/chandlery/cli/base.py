"""`chandlery base create`: a base image from distribution packages."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Make a base image from distribution packages, reproducible for the same package versions; mirrors and keys are those of this machine's apt."
_VARIANTS = ("extract", "custom", "essential", "apt", "required", "minbase", "buildd", "important", "debootstrap", "standard")


def add_arguments(parser: "Parser") -> None:
    parser.word("action", choices=("create",), help="create: install the packages and name the image")
    parser.word("name", help="the image's name")
    parser.one("--suite", help="the release, for example bookworm (default: this machine's own)")
    parser.many("--include", help="packages to install, with what they depend on; separated by commas", metavar="PACKAGE,...")
    parser.one("--variant", help="which packages are there besides (mmdebstrap's variants)", metavar="VARIANT", choices=_VARIANTS, default="minbase")
    parser.flag("-q", "--quiet", help="print the image id alone, at the end")
    parser.one("--root", help="the store's directory", metavar="DIR")


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.cli.settings import apply
    from chandlery.cli.signals import as_cancelled
    from chandlery.content.session import clean_dead_sessions
    from chandlery.content.store import Store
    from chandlery.snapshot.snapshots import SnapshotStore
    from chandlery.source.base_image import create_image

    include = tuple(package for text in arguments.include for package in text.split(",") if package)
    report = _ignore if arguments.quiet else _show
    with as_cancelled(), Store.open(apply(arguments, settings).root) as store, store.begin() as session:
        clean_dead_sessions(store)
        made = create_image(
            store, SnapshotStore(store), session, arguments.name, suite=arguments.suite, include=include, variant=arguments.variant, report=report
        )
    if arguments.quiet:
        print(made.config_digest)
    else:
        print(f"{made.name}: {made.suite}, {len(made.packages)} packages, {made.size_bytes / 1e6:.0f} MB, image {made.config_digest}")
    return 0


def _ignore(_: str) -> None:
    pass


def _show(line: str) -> None:
    print(line, flush=True)
