"""`python -m draftwire` is the `draftwire` command."""

from draftwire.nodes.console.cli import main

raise SystemExit(main())
