"""Many processes that train one model: who they are, what they exchange, how a silent one is named, what a run on them takes."""
