"""The web page: what a visitor does (`session`), who the visitors are (`visitors`, `guard`), the page, the server."""
