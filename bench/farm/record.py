"""Results as files: what a run measured and on which link, so that it can be shown again, and together with other runs' on the same link."""

import json
import time
from pathlib import Path

from bench.farm.options import Options
from bench.farm.run import Built
from bench.report import RESULTS


def save(built: list[Built], options: Options) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"farm-{time.strftime('%Y%m%d-%H%M%S')}.json"
    document = {"link": options.link, "rtt_s": options.rtt_s, "left_out": options.left_out, "built": [item._asdict() for item in built]}
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return path


def load(options: Options) -> tuple[list[Built], Options]:
    """All of `options.results`, and the options with the link that they were measured on."""
    built: list[Built] = []
    links = set()
    left_out: list[str] = []
    for number, name in enumerate(options.results):
        document = json.loads(Path(name).read_text())
        links.add((document["link"], document["rtt_s"]))
        left_out += document.get("left_out", [])
        built += [Built(**item)._replace(run=str(number)) for item in document["built"]]
    if len(links) != 1:
        raise SystemExit("FARM_RESULTS: these runs had different links, and can't be shown together")
    link, rtt_s = links.pop()
    return built, options._replace(link=link, rtt_s=rtt_s, left_out=tuple(dict.fromkeys(left_out)))
