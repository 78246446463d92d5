"""What Streamlit runs for every page: looks, navigation, then the page."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from labelloop.server import desk
from labelloop.ui import visit

ICON = (  # drawn here: Streamlit fetches its own icons from the internet
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#2f6fed"/>'
    '<path d="M8 17l5 5L24 10" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round"/></svg>'
)
# Streamlit leaves five rem of margin left and right of a wide page, cuts off a figure that has no room (of an accuracy
# the interval), and shows a person without a mouse the way to the pages by a shade of grey.
STYLE = """<style>
.stMainBlockContainer { padding-left: 1.75rem; padding-right: 1.75rem; max-width: 96rem; }
[data-testid="stMetricValue"] * { white-space: normal !important; overflow: visible !important; }
[data-testid="stTopNavLink"]:focus-visible, [data-testid="stSidebarNavLink"]:focus-visible {
  outline: 2px solid #2f6fed; outline-offset: 1px;
}
</style>"""


def main() -> None:
    """Show the page that the address asks for."""
    visit.arrive()
    name = Path(visit.folder()).name.encode(errors="replace").decode()
    st.set_page_config(page_title=f"{name} · labelloop" if name else "labelloop", page_icon=ICON, layout="wide")
    st.html(STYLE)
    st.logo(ICON, size="small")
    try:
        st.navigation(list(visit.pages().values()), position="top").run()
    finally:
        desk.let_go()


main()
