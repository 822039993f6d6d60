# fleetbeat-server, alone in its image. scripts/images.sh builds the image from the static
# binary that `make static` has left in target/static. The binary needs no other file: the
# certificate roots are in it, and it uses neither the system's users nor its time zones.
FROM scratch
# BuildKit's name of the machine that the image is for: amd64 or arm64.
ARG TARGETARCH
ARG VERSION
LABEL org.opencontainers.image.title="fleetbeat-server" \
      org.opencontainers.image.description="Takes heartbeats, keeps the fleet's state, serves the API and the dashboard" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="https://github.com/fleetbeat/fleetbeat" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
COPY --chmod=755 target/static/${TARGETARCH}/fleetbeat-server /usr/bin/fleetbeat-server
COPY --chmod=644 target/static/${TARGETARCH}/fleetbeat-server.THIRD-PARTY /usr/share/doc/fleetbeat-server/THIRD-PARTY
COPY --chmod=644 packaging/container/server.toml /etc/fleetbeat/server.toml
# A user without a name. WORKDIR makes the folder after this line, so the folder belongs
# to the user, who can write to nothing else.
USER 65532:65532
WORKDIR /var/lib/fleetbeat
VOLUME /var/lib/fleetbeat
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["/usr/bin/fleetbeat-server", "health"]
ENTRYPOINT ["/usr/bin/fleetbeat-server"]
