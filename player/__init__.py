"""Play a model: a page in the browser, a small server on this machine, and a step of inference."""
