"""What the Python tests, the soak tests and the benches share.

certificates      a certificate authority for tests, and settings with TLS
clock             a library that moves the clock of a program
feature_stores    Redis, Redis Cluster and PostgreSQL servers, and a proxy that delays
grpc_client       a gRPC client of the scoring service that uses reflection
killed_logs       what the prediction log of a killed server has
model_repository  bundles, versions in a repository, requests in the background
nginx             nginx in front of two servers
object_store      a server that speaks S3
openapi           REST clients that compare every response with the OpenAPI document
paths             folders and files of this repository
prediction_logs   settings for a prediction log, its rows as pyarrow reads them
processes         programs, free ports, waiting
sample_customers  the sample customers as rows and hashes, their scores, metrics
server_process    `evergreen serve` on free ports, or on ports kept over restarts
shutdown          SIGTERM in the middle of a load, an outage or a request
traffic           steady load in an open loop, from other processes
"""
