"""Routes: ask an engine, answer with a type of the contract. Each module has a `router`; `ROUTERS` are all of them."""

from hypertuner.server.routes import acting, models, page, queue, reading, run, session

ROUTERS = (
    session.router,
    reading.router,
    run.router,
    acting.router,
    models.router,
    queue.router,
    page.router,
)
