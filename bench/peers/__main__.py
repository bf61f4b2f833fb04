"""`python -m bench.peers install` and `python -m bench.peers list`.  Measuring is `python -m bench`."""

from __future__ import annotations

import sys

from bench.peers import PEERS, install, version


def main() -> None:
    match sys.argv[1:]:
        case ["install"]:
            install()
        case ["list"]:
            for peer in PEERS:
                print(f"{peer.name:18} {version(peer) if peer.installed else 'not installed':16} keeps: {peer.keeps}")
        case _:
            sys.exit("usage: python -m bench.peers install|list")


if __name__ == "__main__":
    main()
