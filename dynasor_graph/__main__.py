"""`python -m dynasor_graph` is `dynasor-graph`."""

from dynasor_graph.cli import main

if __name__ == "__main__":  # vLLM's engine process imports this module again
    main()
