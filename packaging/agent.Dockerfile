# fleetbeat-agent, alone in its image: scripts/images.sh builds it from what `make static` has left in target/static.
# It measures the host, which it has to be shown: docs/containers.md says how.
FROM scratch
# What BuildKit calls the machine that the image is for: amd64 or arm64.
ARG TARGETARCH
ARG VERSION
LABEL org.opencontainers.image.title="fleetbeat-agent" \
      org.opencontainers.image.description="Measures its host and sends a heartbeat to fleetbeat-server" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="https://github.com/fleetbeat/fleetbeat" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
COPY --chmod=755 target/static/${TARGETARCH}/fleetbeat-agent /usr/bin/fleetbeat-agent
COPY --chmod=644 target/static/${TARGETARCH}/fleetbeat-agent.THIRD-PARTY /usr/share/doc/fleetbeat-agent/THIRD-PARTY
COPY --chmod=644 packaging/container/agent.toml /etc/fleetbeat/agent.toml
# Nobody's: what it may write is what the folder made after this line belongs to.
USER 65532:65532
WORKDIR /var/lib/fleetbeat-agent
VOLUME /var/lib/fleetbeat-agent
STOPSIGNAL SIGTERM
# It allows for two intervals itself, so one failure is enough.
HEALTHCHECK --interval=60s --timeout=5s --start-period=15s --retries=1 CMD ["/usr/bin/fleetbeat-agent", "health"]
ENTRYPOINT ["/usr/bin/fleetbeat-agent"]
