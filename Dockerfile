# syntax=docker/dockerfile:1
# The image holds the binary and, by default, the sample model:
#   docker build -t evergreen .
#   docker build -t evergreen --build-arg MODELS=my-models .
FROM rust:1.95-bookworm AS build
WORKDIR /src
# The dependencies first, in a layer of their own: they change less often than the code.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
 && cargo build --locked --profile dist --features full && rm -r src
COPY src src
RUN touch src/lib.rs src/main.rs && cargo build --locked --profile dist --features full

FROM debian:bookworm-slim
ARG MODELS=models
COPY --from=build /src/target/dist/evergreen /usr/local/bin/evergreen
COPY ${MODELS} /srv/evergreen/models
WORKDIR /srv/evergreen
USER 65532:65532
EXPOSE 8080 8081 8082
ENV EVERGREEN_LOG__FORMAT=json
ENTRYPOINT ["evergreen"]
CMD ["serve"]
