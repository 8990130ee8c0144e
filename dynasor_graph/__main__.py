"""`python -m dynasor_graph` is `dynasor-graph`."""

from dynasor_graph.cli import main

main()
