"""Share between pages and API what receives, serves and renders images."""
