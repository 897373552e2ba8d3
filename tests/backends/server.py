"""A stand-in for a server: unpacks a request in a process without steerlab, runs it, returns what is saved.

python server.py MODEL REQUEST RESULT: a pickled (module, tokenizer), the request, and where to write.
"""

import sys
from pathlib import Path

import torch
from nnsight import TransformersModel
from nnsight.schema.request import RequestModel
from nnsight.tracing.tracer import _saves, dec, inc

sys.modules["steerlab"] = None  # importing it fails here, installed or not
module, tokenizer = torch.load(sys.argv[1], weights_only=False)
model = TransformersModel(module, tokenizer=tokenizer, task="text-generation")
tracer = RequestModel.deserialize(Path(sys.argv[2]).read_bytes(), model._remoteable_persistent_objects())
inc()
try:
    with torch.no_grad():
        tracer.execute(tracer.info.code)
    saved = {name: value for name, value in tracer.info.frame.f_locals.items() if id(value) in _saves()}
finally:
    dec()
assert not [name for name in sys.modules if name.startswith("steerlab.")]
torch.save(saved, sys.argv[3])
