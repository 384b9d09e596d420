"""What may be asked, from where and by whom: nothing reaches a route that the guard has not let through."""

from hypertuner.server.guard.scopes import Asker, Scope, needs

__all__ = ["Asker", "Scope", "needs"]
