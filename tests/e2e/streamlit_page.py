"""The smallest Streamlit page around the labeling page; test_component.py serves it."""

import streamlit as st

from labelloop.ui.component import labeler

st.set_page_config(layout="wide")
st.session_state.runs = st.session_state.get("runs", 0) + 1
labeler("/ll/stub", mode="label", by=st.query_params.get("by", "anna"), key="labeler")
st.sidebar.button("again")
st.sidebar.write(f"run {st.session_state.runs}")
