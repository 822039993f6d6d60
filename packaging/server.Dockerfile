# fleetbeat-server, alone in its image: scripts/images.sh builds it from what `make static` has left in target/static.
# Nothing else is needed: the roots that TLS trusts are in the binary, and it knows neither users nor time zones.
FROM scratch
# What BuildKit calls the machine that the image is for: amd64 or arm64.
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
# Nobody's: what it may write is what the folder made after this line belongs to.
USER 65532:65532
WORKDIR /var/lib/fleetbeat
VOLUME /var/lib/fleetbeat
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["/usr/bin/fleetbeat-server", "health"]
ENTRYPOINT ["/usr/bin/fleetbeat-server"]
