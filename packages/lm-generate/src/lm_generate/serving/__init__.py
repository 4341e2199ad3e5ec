"""`lm-generate serve`: an OpenAI-compatible server for one machine, and a page to watch a model write.

    server.py        sockets, signals, a graceful end            command.py      the command line
    app.py           routes, who may ask, errors as JSON         openapi.py      what is served, described
    completions.py   POST /v1/completions: one answer or a stream of events
    scores.py        POST /v1/score: how surprised the model is by a text
    request.py       a body checked field by field               reply.py        the JSON that goes back
    writing.py       the rows of one request, on the event loop's side
    worker.py        one thread owns all models: it lets rows join and leave, one pass over the weights at a time
    turns.py         whose row is next                           surprise.py     scoring, a window at a time
    shelf.py         names -> folders -> loaded engines          metrics.py      what Prometheus reads
    limits.py        every bound of the server                   page.py         the page at /

Needs the extra `lm-generate[serve]`.
"""
