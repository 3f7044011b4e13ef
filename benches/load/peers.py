"""What a user would otherwise run: MLServer with its XGBoost runtime, and FastAPI with XGBoost, on one model.

Usage:

    python peers.py train                     a model into ./models, as each server wants it
    python peers.py mlserver HOST:PORT HOST:PORT
    python peers.py fastapi HOST:PORT
"""

import json
import os
import sys
from pathlib import Path

MODEL = Path("models/bench/1/model.json")


def train():
    import numpy as np
    import xgboost

    random = np.random.default_rng(1)
    rows = random.uniform(-1, 1, (5000, 30)).astype("float32")
    labels = (rows[:, 0] + rows[:, 1] * rows[:, 2] + random.normal(0, 0.3, 5000) > 0).astype(int)
    parameters = {"objective": "binary:logistic", "max_depth": 6, "nthread": 2, "seed": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(rows, labels), 500)
    MODEL.parent.mkdir(parents=True)
    booster.save_model(MODEL)


def mlserver(rest, grpc):
    def port(address):
        return int(address.rsplit(":", 1)[1])

    settings = {
        "host": "127.0.0.1",
        "http_port": port(rest),
        "grpc_port": port(grpc),
        "metrics_endpoint": None,
        # Without worker processes and their hand-over, as is fastest for a small model on a small machine.
        "parallel_workers": 0,
        "debug": False,
    }
    folder = Path("mlserver")
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "bench",
        "implementation": "mlserver_xgboost.XGBoostModel",
        "parameters": {"uri": str(MODEL.resolve())},
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    # With more threads they wait for each other: a tenth of the throughput on a busy machine.
    os.environ["OMP_NUM_THREADS"] = "1"
    program = Path(sys.executable).with_name("mlserver")
    os.execv(program, [program, "start", str(folder)])


def fastapi(address):
    import uvicorn

    host, port = address.rsplit(":", 1)
    folder = str(Path(__file__).parent)
    # A process for each core.
    uvicorn.run(
        "peers:application",
        factory=True,
        app_dir=folder,
        host=host,
        port=int(port),
        workers=os.cpu_count(),
        log_level="error",
        access_log=False,
    )


def application():
    import numpy as np
    import xgboost
    from fastapi import FastAPI
    from pydantic import BaseModel

    booster = xgboost.Booster(model_file=MODEL)
    # One thread a request: with more they wait for each other.
    booster.set_param({"nthread": 1})
    app = FastAPI()

    class Tensor(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Request(BaseModel):
        inputs: list[Tensor]

    @app.post("/v2/models/bench/infer")
    def infer(request: Request):
        tensor = request.inputs[0]
        rows = np.array(tensor.data, dtype="float32").reshape(tensor.shape)
        return {"scores": booster.inplace_predict(rows).tolist()}

    return app


if __name__ == "__main__":
    {"train": train, "mlserver": mlserver, "fastapi": fastapi}[sys.argv[1]](*sys.argv[2:])
