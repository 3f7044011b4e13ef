"""Asks a server everything that kserve's own clients can ask, and prints the answers as JSON.

A program of its own: kserve and tritonclient define the same protobuf messages, and one process takes only one of them.

    python kserve_client.py http://HOST:PORT HOST:PORT
"""

import asyncio
import json
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

MODEL = "churn"
DATATYPES = ["FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"]


def numpy_type(datatype):
    return {"FP32": "float32", "FP64": "float64"}.get(datatype, datatype.lower())


def request(name, array, datatype, binary):
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(MODEL, [tensor], request_id="r-9")


def answer(response):
    outputs = {output.name: output.as_numpy().ravel().tolist() for output in response.outputs}

    def text(value):
        return value.decode() if isinstance(value, bytes) else value

    return {"id": response.id, "outputs": {name: list(map(text, values)) for name, values in outputs.items()}}


async def everything(health, infer):
    found = {"health": [await check for check in health]}
    for binary in (True, False):
        for datatype in DATATYPES:
            array = (np.arange(48).reshape(2, 24) % 2).astype(numpy_type(datatype))
            found[f"{datatype} {binary}"] = answer(await infer(request("x", array, datatype, binary)))
        ids = np.array([b"C-1042", b"nobody"], dtype=object)
        found[f"ids {binary}"] = answer(await infer(request("customer_id", ids, "BYTES", binary)))
    try:
        await infer(request("x", np.zeros((1, 7), "float32"), "FP32", True))
    except (httpx.HTTPStatusError, grpc.RpcError) as error:
        found["error"] = str(error)
    return found


async def main(url, address):
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    health = [rest.is_server_live(url), rest.is_server_ready(url), rest.is_model_ready(url, MODEL)]
    over_rest = await everything(health, lambda request: rest.infer(url, request, model_name=MODEL))
    async with InferenceGRPCClient(address) as client:
        health = [client.is_server_live(), client.is_server_ready(), client.is_model_ready(MODEL)]
        over_grpc = await everything(health, client.infer)
    await rest.close()
    print(json.dumps({"rest": over_rest, "grpc": over_grpc}))


asyncio.run(main(*sys.argv[1:]))
