# An image with one static binary and nothing else, which runs as nobody in particular:
#   docker build -t rollcall .
#   docker run --rm rollcall demo --once
#   docker run -p 8080:8080 -v "$PWD/rollcall.toml:/etc/rollcall/rollcall.toml:ro" -v rollcall:/data rollcall
#
# Where the Rust image cannot be pulled, a folder with a static binary takes the place of the stage `build`:
#   scripts/release prebuilt/out/rollcall && mkdir -p prebuilt/out/data prebuilt/out/tmp
#   docker build --build-context build=prebuilt -t rollcall .

# Slim brings the C compiler that ring, the cryptography below TLS, is built with, and the glibc to link in.
FROM rust:1.95-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
# The dependencies are a layer of their own, which stays as long as Cargo.toml and Cargo.lock do: they are built for a program that does
# nothing. Every target that Cargo.toml names has to be there.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY scripts/release scripts/release
RUN mkdir -p src benches \
 && sed -n '/^\[\[bench\]\]$/{n;s|^name = "\(.*\)"$|benches/\1.rs|p}' Cargo.toml | xargs touch src/lib.rs \
 && echo 'fn main() {}' > src/main.rs \
 && scripts/release
COPY config config
COPY src src
# Files may be older than the build of the dependencies, which cargo takes for unchanged.
RUN touch src/lib.rs src/main.rs \
 && scripts/release /out/rollcall \
 && install -d /out/data /out/tmp

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rollcall" \
      org.opencontainers.image.description="Keeps a local people directory equal to its MangoApps tenant" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/rollcall /rollcall
# The folders belong to the user of the image, so that a new volume does too. The demo makes its own folder in /tmp.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/tmp /tmp
USER 65532:65532
# Counts more than store.path in a file: what is remembered belongs on the volume.
ENV ROLLCALL__STORE__PATH=/data
VOLUME /data
# Webhooks; and health, metrics and API, which listen on loopback until ops.listen says otherwise and ops.tokens is set.
EXPOSE 8080 9090
# There is no shell: the binary asks the service itself. A start may read a journal for a while.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 CMD ["/rollcall", "health"]
ENTRYPOINT ["/rollcall"]
CMD ["serve", "--config", "/etc/rollcall/rollcall.toml"]
