"""`streamlit run app.py` or `uvicorn app:app`; `labelloop app` does the same, faster, with a socket of its own."""

from streamlit.starlette import App

from labelloop.server import MAIN, parts

app = App(MAIN, **parts())  # spelled out: `streamlit run` reads this file and looks for a call of App
