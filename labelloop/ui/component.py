"""Mounts the labeling page inside Streamlit.

Streamlit gets a stub that loads the real page, plain JavaScript modules, from our own route; from then on keys, images
and answers travel between browser and server without a script rerun. What the page does is in static/labeler.js; the
routes it talks to are in server/routes.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import streamlit as st

STATIC = Path(__file__).parent / "static"
"""The page's modules and style; the server hands them out under /ll/static/<static_version()>/."""

# Streamlit calls the default export again on every rerun: one page per key lives in a map that outlasts them all.
# When the connection is lost, Streamlit's dialog would lie over the image and take the keys; the page says it itself.
# A server that started again knows no project until a script runs: `reopen` makes Streamlit run ours.
_STUB = """
const pages = (globalThis.__labelloopPages ??= new Map());
let asked = 0;

export default function ({ key, parentElement, data: sent, setTriggerValue }) {
  const data = { ...sent, reopen: () => setTriggerValue("reopen", ++asked) };
  let page = pages.get(key);
  if (!page || page.parentElement !== parentElement) {
    page?.close();
    page = open(parentElement, data);
    pages.set(key, page);
  }
  page.update(data);
  return () => {
    page.close();
    if (pages.get(key) === page) pages.delete(key);
  };
}

function open(parentElement, first) {
  let view = null, closed = false, data = first;
  const dialogs = new MutationObserver(closeConnectionError);
  dialogs.observe(document.body, { childList: true, subtree: true });
  import(new URL(first.module, location.origin)).then(
    ({ mount }) => { if (!closed) view = mount({ parentElement, data }); },
    (error) => { parentElement.append("The labeling page could not be loaded: " + error.message); },
  );
  return {
    parentElement,
    update(now) { data = now; view?.update({ data }); },
    close() { closed = true; dialogs.disconnect(); view?.destroy(); },
  };
}

function closeConnectionError() {
  const dialog = document.querySelector('[data-testid="stDialog"]');
  if (dialog?.textContent.startsWith("Connection error")) dialog.querySelector('[aria-label="Close"]')?.click();
}
"""

# The page fills the window, so Streamlit's wide margins around it are taken away.
_TIGHT = """<style>
.stMainBlockContainer { padding: 3.9rem 1.5rem 0 !important; max-width: none; }
[data-testid="stHeader"] { background: transparent; }
</style>"""

_component = st.components.v2.component("labelloop.labeler", js=_STUB)


def static_version() -> str:
    """Short hash of all static files, part of their address so that browsers may keep them for ever."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        if path.suffix in {".js", ".css"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def labeler(base: str, *, mode: Literal["label", "review"], by: str, key: str) -> None:
    """Show the labeling page of the project that the server has open under `base`, such as "/ll/3f2a9c".

    `by` is the person whose answers these are; `key` must stay the same over reruns, or the page starts anew.
    """
    module = f"/ll/static/{static_version()}/labeler.js"
    st.html(_TIGHT)
    _component(key=key, on_reopen_change=lambda: None, data={"base": base, "mode": mode, "by": by, "module": module})
