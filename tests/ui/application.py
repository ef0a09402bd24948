"""The standalone's page and API as one application, not served."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import gradio.routes

from lib_rimo.ui.access import Guard, stand_before
from lib_rimo.ui.api import add_routes
from lib_rimo.ui.standalone import make_page


def application(host, guard=None, *, refuses=True):
    async def make():  # inside a loop: Gradio makes others without one, and leaves them open
        page, server = make_page(host)
        return gradio.routes.App.create_app(page), server

    with ThreadPoolExecutor(1) as apart:  # Playwright leaves its own loop running in this thread
        app, server = apart.submit(asyncio.run, make()).result()
    guard = guard or Guard(reach=host.reach)
    app.auth = guard.is_right if guard.logins else None
    stand_before(app, guard.reach, refuses=refuses, guesses=guard.guesses if refuses else None)
    add_routes(app, server, guard)
    return app
