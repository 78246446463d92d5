"""The pages in the browser: one file each, and the labeling component.

    main.py      what Streamlit runs: looks, navigation           visit.py    which project, and who is labeling
    start.py     make or open a project                           typed.py    what was typed on Start, understood
    label.py     label                                            plain.py    names that people gave, shown as they are
    review.py    look over what was labeled                       words.py    figures and times in words
    progress.py  how far, how good                                charts.py   the drawings on Progress
    export.py    take the labels out                              component.py, static/    the labeling component

Pages read and call; everything they show is made in the layers below.
"""
