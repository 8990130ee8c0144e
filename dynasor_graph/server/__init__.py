"""Server: reasoning programs behind OpenAI's API, each choice one program on the same engine."""

from dynasor_graph.server.app import create_app
from dynasor_graph.server.keys import Keys
from dynasor_graph.server.limits import Limits
from dynasor_graph.server.plan import Offer
from dynasor_graph.server.service import Service

__all__ = ["Keys", "Limits", "Offer", "Service", "create_app"]
