//! Pages that people look at: a run, a night, the history, each as one self-contained HTML file.
