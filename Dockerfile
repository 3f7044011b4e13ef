# syntax=docker/dockerfile:1
# The image holds the binary, its shared libraries, CA certificates and the sample model:
#   docker build -t evergreen:0.1.0 .
#   docker build -t evergreen:0.1.0 --build-arg MODELS=my-models .        with other models
#   docker build -t evergreen:0.1.0 --target bare .                       without models: use a volume or object storage
#   docker run --read-only --tmpfs /tmp -p 8080:8080 -p 8081:8081 -p 8082:8082 evergreen:0.1.0
ARG RUST=1.95

FROM rust:${RUST}-bookworm AS build
WORKDIR /src
# An image for ARM must also run where memory has pages of 64 KiB; jemalloc would take the size of the machine that builds.
RUN [ "$(uname -m)" != aarch64 ] || printf '[env]\nJEMALLOC_SYS_WITH_LG_PAGE = "16"\n' > "$CARGO_HOME/config.toml"
# Build the dependencies first, in a layer of their own, as they change less often than the code. Cargo needs a file for
# every target in the manifest.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY crates crates
RUN mkdir -p src benches tests/forest \
 && echo 'fn main() {}' > src/main.rs && touch src/lib.rs benches/engine.rs benches/features.rs \
    tests/boundaries.rs tests/interface.rs tests/reference.rs tests/forest/main.rs tests/forest/allocations.rs \
 && cargo build --locked --profile dist --features full && rm -r src
COPY web/dist web/dist
COPY src src
COPY k8s/base k8s/base
RUN touch src/lib.rs src/main.rs && cargo build --locked --profile dist --features full
RUN mkdir -p /image/usr/local/bin /image/srv/evergreen/models /image/etc/ssl/certs && mkdir -m 1777 /image/tmp \
 && cp target/dist/evergreen /image/usr/local/bin/ \
 && ldd target/dist/evergreen > linked && grep -o '/[^ ]*' linked > libraries \
 && xargs -a libraries cp -L --parents -t /image \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'evergreen:x:65532:65532::/srv/evergreen:/sbin/nologin' > /image/etc/passwd \
 && echo 'evergreen:x:65532:' > /image/etc/group

FROM scratch AS bare
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Evergreen" \
      org.opencontainers.image.description="Serves gradient-boosted tree models: a customer id in, a churn score out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
WORKDIR /srv/evergreen
USER 65532:65532
EXPOSE 8080 8081 8082
ENV EVERGREEN_LOG__FORMAT=json
# The image has no shell, so the program checks itself. A container whose models load is healthy.
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s --retries=3 CMD ["/usr/local/bin/evergreen", "health", "--live"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/evergreen"]
CMD ["serve"]

FROM bare
ARG MODELS=models
COPY ${MODELS} /srv/evergreen/models
