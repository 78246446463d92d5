"""`streamlit run app.py` or `uvicorn app:app`; `labelloop app` does the same, faster, with a socket of its own."""

from labelloop.server import build_app

app = build_app()
