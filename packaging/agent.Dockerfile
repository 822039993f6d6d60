# fleetbeat-agent, alone in its image. scripts/images.sh builds the image from the static
# binary that `make static` has left in target/static. The container has to be shown the
# host that the agent measures: docs/containers.md says how.
FROM scratch
# BuildKit's name of the machine that the image is for: amd64 or arm64.
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
# A user without a name. WORKDIR makes the folder after this line, so the folder belongs
# to the user, who can write to nothing else.
USER 65532:65532
WORKDIR /var/lib/fleetbeat-agent
VOLUME /var/lib/fleetbeat-agent
STOPSIGNAL SIGTERM
# The command allows for two intervals, so one failure is enough.
HEALTHCHECK --interval=60s --timeout=5s --start-period=15s --retries=1 CMD ["/usr/bin/fleetbeat-agent", "health"]
ENTRYPOINT ["/usr/bin/fleetbeat-agent"]
