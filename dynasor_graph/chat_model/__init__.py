"""Chat model: `ChatDynasor`, a LangChain chat model whose answers are programs."""

from dynasor_graph.chat_model.model import ChatDynasor

__all__ = ["ChatDynasor"]
