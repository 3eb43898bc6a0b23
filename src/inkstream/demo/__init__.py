"""The demo: a chat whose answers are persistent streams, shown in two panes."""
