"""`lm-generate serve`: an OpenAI-compatible server for one machine, and a page to watch a model write.

    server.py        sockets, signals, a graceful end            command.py      the command line
    app.py           routes, who may ask, errors as JSON         openapi.py      what is served, described
    completions.py   POST /v1/completions: one answer or a stream of events
    scores.py        POST /v1/score: how surprised the model is by a text
    request.py       a body checked field by field               reply.py        the JSON that goes back
    fields.py        JSON read strictly, mistakes named          problems.py     errors in OpenAI's form
    service.py       what requests share; the worker's mail      transport.py    bodies in, events out, clients that leave
    writing.py       the rows of one request, on the event loop's side
    worker.py        one thread owns all models: it lets rows join and leave, one pass over the weights at a time
    turns.py         whose row is next                           surprise.py     scoring, a window at a time
    shelf.py         names -> folders -> loaded engines          names.py        tokens as a client reads them
    limits.py        every bound of the server                   metrics.py      what Prometheus reads
    page.py, page/   the page at /

Needs the extra `lm-generate[serve]`.
"""
