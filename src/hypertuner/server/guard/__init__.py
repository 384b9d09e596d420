"""What may be asked, from where and by whom: nothing reaches a route that the guard has not let through."""

from hypertuner.server.guard.boundary import Boundary
from hypertuner.server.guard.door import Door
from hypertuner.server.guard.headers import policy
from hypertuner.server.guard.scopes import Asker, Scope, needs
from hypertuner.server.guard.wall import Guard, cookie_name

__all__ = ["Asker", "Boundary", "Door", "Guard", "Scope", "cookie_name", "needs", "policy"]
