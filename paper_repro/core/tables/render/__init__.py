"""Result tables as terminal output, Markdown and PNG: one module each, the same text in all."""
