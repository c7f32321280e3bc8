# An image with one static binary and nothing else, which runs as nobody in particular:
#   docker build -t rollcall .
#   docker run --rm rollcall demo --once
#   docker run -p 8080:8080 -v "$PWD/rollcall.toml:/etc/rollcall/rollcall.toml:ro" -v rollcall:/data rollcall
#
# Where the Rust image cannot be pulled, a folder with a static binary takes the place of the stage `build`:
#   cargo rustc --release --locked --bin rollcall -- -C target-feature=+crt-static
#   mkdir -p prebuilt/out/data prebuilt/out/tmp && cp target/release/rollcall prebuilt/out/
#   docker build --build-context build=prebuilt -t rollcall .

# Slim brings the C compiler that ring, the cryptography below TLS, is built with, and the glibc to link in.
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# glibc resolves names from files and DNS without loading anything; the roots of TLS are compiled in as well.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo rustc --release --locked --bin rollcall -- -C target-feature=+crt-static \
 && install -D target/release/rollcall /out/rollcall \
 && install -d /out/data /out/tmp

FROM scratch
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
ENTRYPOINT ["/rollcall"]
CMD ["serve", "--config", "/etc/rollcall/rollcall.toml"]
